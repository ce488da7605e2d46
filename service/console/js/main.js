// The frame: which view the address names, and what all views share.

import { byId } from "./dom.js";
import { lookAtFleet } from "./fleet.js";
import { frontierView } from "./frontier.js";
import { installKey } from "./key.js";
import { liveView } from "./live.js";
import { Poll } from "./poll.js";
import { installTheme } from "./theme.js";
import { tryView } from "./try.js";

const NAMES = { "/": "try", "/frontier": "frontier", "/live": "live" };
const TITLES = { try: "Try", frontier: "Frontier", live: "Live" };

const views = { try: tryView(), frontier: frontierView(), live: liveView() };
let shown = null;

function show(name) {
  if (shown === name) return;
  if (shown) views[shown].leave();
  shown = name;
  for (const section of document.querySelectorAll("[data-view]")) section.hidden = section.dataset.view !== name;
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · vision-gateway`;
  views[name].enter();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const name = NAMES[link.pathname];
  if (name === shown) return;
  history.pushState(null, "", name === "try" ? views.try.address() : link.pathname);
  show(name);
  byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("popstate", () => show(NAMES[location.pathname] ?? "try"));

const look = () => lookAtFleet().then(() => views[shown].fleetChanged(), (problem) => views[shown].fleetFailed(problem));
installTheme(byId("theme-button"));
installKey(look);
show(NAMES[location.pathname] ?? "try");
new Poll(look, 15_000).start();
