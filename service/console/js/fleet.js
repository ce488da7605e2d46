// Which models there are and what the tiers allow, as GET /v1/models says; shown in the header.

import { call } from "./api.js";
import { byId } from "./dom.js";
import { plural } from "./format.js";

/** The last answer of GET /v1/models; null before the first. */
export let fleet = null;

/** Asks again. Raises Problem, and says so in the header. */
export async function lookAtFleet() {
  try {
    fleet = (await call("list_models")).answer;
    const where = fleet.providers[0]?.replace("ExecutionProvider", "") ?? "";
    const text = fleet.ready ? [fleet.engine, where, plural(fleet.models.length, "model", "models")] : ["not ready"];
    show(fleet.ready ? "ready" : "away", text.filter(Boolean).join(" · "));
  } catch (problem) {
    show("away", problem.title ?? "failed");
    throw problem;
  }
  return fleet;
}

function show(state, text) {
  byId("status").dataset.state = state;
  if (byId("status-text").textContent !== text) byId("status-text").textContent = text;
}
