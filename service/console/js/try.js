// The Try view: picture and wishes in, one request, everything about its answer out.

import { call, Problem } from "./api.js";
import { REASONS, showCandidates } from "./candidates.js";
import { byId, h } from "./dom.js";
import { fleet } from "./fleet.js";
import { bytes, ms } from "./format.js";
import { foundIn, groupsOf } from "./found.js";
import { installIntake, markSample, SAMPLES, takeSample } from "./intake.js";
import { countText, showLegend, showPredictions } from "./predictions.js";
import { hideProblem, showProblem } from "./problem.js";
import { RequestCard } from "./request_card.js";
import { Stage } from "./stage.js";
import { uprightBitmap } from "./upright.js";
import { showWaterfall } from "./waterfall.js";
import { Wishes } from "./wishes.js";

// What is less sure than this is never asked for; the slider cuts above it without asking again.
const FLOOR = 0.1;
// Larger pictures are not sent twice, for the choice and for the answer: the choice is then for a typical picture.
const ROUTED_WITH_BYTES = 2 << 20;
const SLIDE_PAUSE_MS = 120;

export function tryView() {
  return new Try();
}

class Try {
  #stage = new Stage();
  #request = new RequestCard();
  #wishes = new Wishes(() => this.#changed(), () => this.#sliding());
  #picture = null;
  #found = [];
  #hidden = new Set();
  #size = { width: 1, height: 1 };
  #answeredBy = null;
  #running = new AbortController();
  #looking = new AbortController();
  #slideTimer = null;
  #sampled = false;

  constructor() {
    const taken = (picture) => this.#take(picture);
    const failed = (text) => this.#say(text);
    installIntake(taken, failed);
    this.takeSample = (name) => takeSample(name, taken, failed);
    byId("threshold").addEventListener("input", () => this.#filter());
    byId("overlay-shown").addEventListener("change", () => this.#filter());
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#showRequest();
  }

  enter() {
    const sample = new URLSearchParams(location.search).get("sample");
    if (sample && !this.#sampled) this.takeSample(sample);
    this.#sampled = true;
    if (fleet) this.fleetChanged();
  }

  leave() {}

  fleetChanged() {
    const first = byId("tiers").querySelector(".bar") === null;
    this.#wishes.offer(fleet);
    if (first && !this.#picture) this.#look();
    if (byId("problem").dataset.of === "fleet") hideProblem(byId("problem"));
    this.#showRequest();
  }

  fleetFailed(problem) {
    if (!(problem instanceof Problem)) throw problem;
    byId("problem").dataset.of = "fleet";
    showProblem(byId("problem"), problem);
  }

  /** This view's address, with what is wished. */
  address() {
    const wanted = { ...this.#wishes.pageQuery(), sample: this.#picture?.sample };
    const said = Object.entries(wanted).filter(([, value]) => value);
    return `/?${new URLSearchParams(said)}`;
  }

  async #take({ blob, name, sample }) {
    const bitmap = await uprightBitmap(blob);
    this.#picture = { blob, name, sample };
    const size = bitmap ? `${bitmap.width} × ${bitmap.height} · ` : "";
    const credit = SAMPLES.find((one) => one.name === sample)?.credit;
    byId("file-name").replaceChildren(h("b", {}, name), ` ${size}${credit ?? bytes(blob.size)}`);
    markSample(sample);
    this.#clear();
    this.#stage.setPicture(bitmap, name);
    this.#stage.describe(name);
    byId("ask-again").disabled = false;
    this.#ask();
  }

  #changed() {
    clearTimeout(this.#slideTimer);
    if (this.#picture) this.#ask();
    else this.#look();
    this.#showRequest();
  }

  #sliding() {
    this.#showRequest();
    clearTimeout(this.#slideTimer);
    this.#slideTimer = setTimeout(() => this.#look(), SLIDE_PAUSE_MS);
  }

  /** The choice alone. Returns the candidates, or null where the API refused to look. */
  async #look() {
    this.#looking.abort();
    const mine = (this.#looking = new AbortController());
    const small = this.#picture && this.#picture.blob.size <= ROUTED_WITH_BYTES;
    try {
      const query = this.#wishes.routeQuery();
      const { answer } = await call("route", { query, picture: small ? this.#picture.blob : null, signal: mine.signal });
      this.#answeredBy = null;
      this.#showChoice(answer);
      return answer;
    } catch (error) {
      if (error.name === "AbortError") return null;
      if (!(error instanceof Problem)) throw error;
      this.#clearChoice();
      if (!this.#picture) showProblem(byId("problem"), error);
      return null;
    }
  }

  async #ask() {
    if (!this.#picture) return;
    this.#running.abort();
    const mine = (this.#running = new AbortController());
    document.body.setAttribute("aria-busy", "true");
    history.replaceState(null, "", this.address());
    this.#showRequest();
    const task = this.#wishes.task;
    try {
      const looked = await this.#look();
      if (mine.signal.aborted) return;
      const { answer, tookMs } = await call(task, { query: this.#query(FLOOR), picture: this.#picture.blob, signal: mine.signal });
      hideProblem(byId("problem"));
      this.#showAnswer(task, answer, tookMs, looked);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem)) throw error;
      this.#clear();
      byId("problem").dataset.of = "answer";
      showProblem(byId("problem"), error);
      this.#say(`Refused: ${error.title}`);
    } finally {
      if (mine === this.#running) document.body.removeAttribute("aria-busy");
    }
  }

  #query(threshold) {
    const query = this.#wishes.taskQuery();
    const things = this.#wishes.task === "detect" || query.kind === "instance";
    return things ? { ...query, score_threshold: threshold } : query;
  }

  #showRequest() {
    this.#request.show(this.#wishes.task, this.#query(byId("threshold").valueAsNumber), this.#picture);
  }

  #showAnswer(task, answer, tookMs, looked) {
    this.#found = foundIn(task, answer);
    this.#size = answer.image;
    this.#hidden.clear();
    this.#answeredBy = answer.model.name;
    byId("answer-card").hidden = false;
    byId("time-card").hidden = false;
    byId("warnings").replaceChildren(...answer.warnings.map((text) => h("p.warning", {}, text)));
    byId("overlay-toggle").hidden = task === "classify";
    byId("threshold-row").hidden = !(task === "detect" || answer.kind === "instance");
    byId("why").replaceChildren(h("b", {}, answer.model.name), ": ", REASONS[answer.routing.reason] ?? answer.routing.reason, ".");
    byId("why-hint").textContent = modelText(answer);
    if (looked) showCandidates(byId("candidates"), looked.candidates, answer.routing.budget_ms, answer.model.name);
    showWaterfall(byId("waterfall"), answer);
    byId("time-hint").textContent = `${ms(answer.timing_ms.total)} in the gateway, ${ms(tookMs)} from here`;
    this.#filter();
    this.#say(`${answer.model.name} ${saidOf(this.#sure())}, in ${ms(answer.timing_ms.total)}`);
  }

  /** What the threshold, the legend and the overlay's switch leave; nothing is asked again. */
  #filter() {
    const threshold = byId("threshold").valueAsNumber;
    byId("threshold-value").textContent = threshold.toFixed(2);
    const sure = this.#sure();
    const drawn = sure.filter((one) => !this.#hidden.has(one.group));
    this.#stage.draw(byId("overlay-shown").checked ? drawn : [], this.#size);
    this.#stage.describe(`${this.#picture?.name ?? "The picture"}; drawn on it: ${drawn.map((one) => one.label).join(", ") || "nothing"}`);
    byId("threshold-count").textContent = countText(sure.length, this.#found.length);
    showPredictions(byId("predictions"), sure, (one) => this.#stage.focus(one), this.#found.length ? "Nothing is this sure: lower the threshold." : "Nothing was found.");
    byId("answer-hint").textContent = hintOf(this.#found);
    const drawable = sure.filter((one) => one.box || one.rle);
    showLegend(byId("legend"), groupsOf(drawable), this.#hidden, (group) => this.#toggle(group));
    this.#showRequest();
  }

  #sure() {
    const cuts = !byId("threshold-row").hidden;
    return this.#found.filter((one) => !cuts || one.score >= byId("threshold").valueAsNumber);
  }

  #toggle(group) {
    if (!this.#hidden.delete(group)) this.#hidden.add(group);
    this.#filter();
    byId("legend").querySelector(`[data-group="${CSS.escape(group)}"]`)?.focus();
  }

  #showChoice(looked) {
    const budgetMs = looked.routing?.budget_ms ?? this.#wishes.budgetMs;
    showCandidates(byId("candidates"), looked.candidates, budgetMs, null);
    byId("why-hint").textContent = looked.image ? "now, for this picture" : "now, for a 640×480 JPEG";
    if (looked.model) byId("why").replaceChildren(h("b", {}, looked.model), " would answer: ", REASONS[looked.routing.reason] ?? "", ".");
    else byId("why").replaceChildren("None would answer: ", looked.refused ?? "", ".");
  }

  #clearChoice() {
    byId("candidates").replaceChildren();
    byId("why").replaceChildren();
    byId("why-hint").textContent = "";
  }

  #clear() {
    this.#found = [];
    this.#stage.draw([], this.#size);
    for (const id of ["answer-card", "time-card", "threshold-row", "legend", "overlay-toggle"]) byId(id).hidden = true;
    hideProblem(byId("problem"));
  }

  #say(text) {
    byId("said").textContent = text;
    byId("ask-hint").textContent = text;
  }
}

function modelText({ model, routing }) {
  const parts = [model.precision, model.backend];
  if (model.accuracy !== null) parts.push(`${model.accuracy_metric} ${model.accuracy.toFixed(1)} %`);
  if (routing.hedged) parts.push("hedged");
  if (routing.failed.length) parts.push(`instead of ${routing.failed.join(", ")}, which failed`);
  if (routing.cascade) parts.push(`cascade: ${routing.cascade}`);
  if (routing.degraded) parts.push("degraded");
  return parts.join(" · ");
}

function hintOf(found) {
  if (!found.length) return "";
  return found[0].score === null ? "share of the picture" : "how sure, 0 to 1";
}

function saidOf(sure) {
  if (!sure.length) return "found nothing";
  return `found ${sure[0].label}${sure.length > 1 ? ` and ${sure.length - 1} more` : ""}`;
}
