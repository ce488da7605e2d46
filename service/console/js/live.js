// The Live view: the last minute of this gateway, as GET /v1/activity says it, about once a second.

import { call, Problem } from "./api.js";
import { breakable, byId, h, styled } from "./dom.js";
import { ms, percent } from "./format.js";
import { Poll } from "./poll.js";
import { hideProblem, showProblem } from "./problem.js";
import { drawBars, drawLines } from "./minute_chart.js";

// Far apart in hue, of one lightness; assigned as models are met, so that a colour stays with its model.
const colourOf = (n) => `oklch(${n % 2 ? 0.68 : 0.6} 0.14 ${(262 + n * 137.508) % 360})`;

export function liveView() {
  return new Live();
}

class Live {
  #poll = new Poll(() => this.#look(), 1000);
  #paused = false;
  #colours = new Map();
  #last = null;

  constructor() {
    byId("live-pause").addEventListener("click", () => this.#pause(!this.#paused));
    new ResizeObserver(() => this.#last && this.#draw(this.#last)).observe(byId("live-throughput"));
  }

  enter() {
    if (!this.#paused) this.#poll.start();
  }

  leave() {
    this.#poll.stop();
  }

  fleetChanged() {}

  fleetFailed(problem) {
    if (!(problem instanceof Problem)) throw problem;
    showProblem(byId("live-problem"), problem);
  }

  #pause(paused) {
    this.#paused = paused;
    byId("live-pause").setAttribute("aria-pressed", String(paused));
    if (paused) this.#poll.stop();
    else this.#poll.start();
  }

  async #look() {
    try {
      this.#last = (await call("activity")).answer;
      hideProblem(byId("live-problem"));
      this.#draw(this.#last);
    } catch (problem) {
      this.fleetFailed(problem);
    }
  }

  #draw(seen) {
    const ended = Object.values(seen.outcomes).reduce((sum, count) => sum + count, 0);
    const unanswered = ended - seen.models.reduce((sum, one) => sum + one.answers, 0);
    byId("live-window").textContent = seen.window_s ? `The last ${seen.window_s} s of this gateway. Times run from a request's headers to its answer.` : "Nothing has been asked yet.";
    byId("live-tiles").replaceChildren(
      tile("answers / s", seen.rate_per_s >= 10 ? seen.rate_per_s.toFixed(0) : seen.rate_per_s.toFixed(1)),
      tile("p50", seen.p50_ms === null ? "–" : ms(seen.p50_ms)),
      tile("p95", seen.p95_ms === null ? "–" : ms(seen.p95_ms)),
      tile("in flight", String(seen.in_flight), `of ${seen.max_in_flight}`),
      tile("queue", String(seen.queue_depth), "pieces of work"),
      tile("not answered", percent(ended ? unanswered / ended : 0), `${unanswered} of ${ended}`),
      tile("predictions that held", seen.prediction_coverage === null ? "–" : percent(seen.prediction_coverage), "target 95 %"),
    );
    drawBars(byId("live-throughput"), seen.seconds.map((second) => ({ whole: second.ended, part: second.answers })), "a second");
    drawLines(byId("live-latency"), seen.seconds.map((second) => [second.p50_ms, second.p95_ms]));
    byId("outcomes").textContent = Object.entries(seen.outcomes).map(([name, count]) => `${name} ${count}`).join(" · ");
    this.#drawModels(seen.models);
  }

  #drawModels(models) {
    const bar = h("div.mix", { role: "img", "aria-label": models.map((one) => `${one.model} ${percent(one.share)}`).join(", ") || "no answers" });
    for (const one of models) bar.append(styled(h("span", { title: `${one.model}, ${one.task}: ${percent(one.share)}` }), { "flex-grow": String(one.answers), background: this.#colour(one.model) }));
    byId("live-mix").replaceChildren(models.length ? bar : h("p.nothing", {}, "Nobody in the last minute. Ask something on the Try page, and it shows here."));
    byId("live-table").hidden = !models.length;
    byId("live-table").replaceChildren(
      h("thead", {}, h("tr", {}, ...["Model", "task", "share", "per second", "answers", "pictures", "p50", "p95", "why it was taken"].map((text, i) => h(i > 1 && i < 8 ? "th.number" : "th", { scope: "col" }, text)))),
      h("tbody", {}, ...models.map((one) => this.#row(one))),
    );
  }

  #row(one) {
    const reasons = Object.entries(one.reasons).sort((a, b) => b[1] - a[1]);
    return h(
      "tr",
      { "data-model": one.model },
      h("th", { scope: "row" }, styled(h("i.swatch", { "aria-hidden": "true" }), { background: this.#colour(one.model) }), ...breakable(one.model)),
      h("td", {}, one.task),
      h("td.number", {}, percent(one.share)),
      h("td.number", {}, one.rate_per_s.toFixed(2)),
      h("td.number", {}, String(one.answers)),
      h("td.number", {}, String(one.pictures)),
      h("td.number", {}, ms(one.p50_ms)),
      h("td.number", {}, ms(one.p95_ms)),
      h("td.reasons", {}, reasons.map(([reason, count]) => `${reason} ${count}`).join(", ")),
    );
  }

  #colour(model) {
    if (!this.#colours.has(model)) this.#colours.set(model, colourOf(this.#colours.size));
    return this.#colours.get(model);
  }
}

function tile(name, value, small = "") {
  return h("div.tile", {}, h("dt", {}, name), h("dd", {}, value, small ? h("small", {}, ` ${small}`) : null));
}
