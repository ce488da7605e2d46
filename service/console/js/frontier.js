// The Frontier view: what each model would take now against how good it is.

import { call, Problem } from "./api.js";
import { breakable, byId, h } from "./dom.js";
import { fleet } from "./fleet.js";
import { bytes, ms, short } from "./format.js";
import { drawFrontier } from "./frontier_plot.js";
import { frontierOf } from "./pareto.js";
import { Poll } from "./poll.js";
import { hideProblem, showProblem } from "./problem.js";
import { yardsticksOf } from "./yardsticks.js";

export function frontierView() {
  return new Frontier();
}

class Frontier {
  #poll = new Poll(() => this.#look(), 4000);
  #yardsticks = [];
  #points = [];
  #tiers = [];
  #marked = null;

  constructor() {
    byId("yardstick").addEventListener("change", () => this.#chosen());
    new ResizeObserver(() => this.#draw()).observe(byId("frontier-plot"));
  }

  enter() {
    if (fleet) this.fleetChanged();
    this.#poll.start();
  }

  leave() {
    this.#poll.stop();
  }

  fleetChanged() {
    const before = JSON.stringify(this.#yardsticks.map(({ key }) => key));
    this.#yardsticks = yardsticksOf(fleet.models);
    if (before === JSON.stringify(this.#yardsticks.map(({ key }) => key))) return;
    const wanted = byId("yardstick").value || new URLSearchParams(location.search).get("of") || "";
    byId("yardstick").replaceChildren(...this.#yardsticks.map(({ key, label }) => h("option", { value: key }, label)));
    byId("yardstick").value = this.#yardsticks.some(({ key }) => key === wanted) ? wanted : this.#yardsticks[0]?.key ?? "";
    this.#poll.start();
  }

  fleetFailed(problem) {
    if (!(problem instanceof Problem)) throw problem;
    showProblem(byId("frontier-problem"), problem);
  }

  #chosen() {
    history.replaceState(null, "", `/frontier?${new URLSearchParams({ of: byId("yardstick").value })}`);
    this.#poll.start();
  }

  get #yardstick() {
    return this.#yardsticks.find(({ key }) => key === byId("yardstick").value);
  }

  /** What every model would take now, and which one each tier would get. */
  async #look() {
    const yardstick = this.#yardstick;
    if (!yardstick) return;
    const models = [...yardstick.models, ...yardstick.untrained];
    const { task, segment_kind: kind } = models[0];
    try {
      const all = (await this.#route({ task, kind, latency_budget_ms: fleet.max_budget_ms })) ?? { candidates: [] };
      const predicted = new Map(all.candidates.map((one) => [one.model, one]));
      for (const model of models.filter(({ name }) => !predicted.has(name))) {
        const own = await this.#route({ task, kind, model: model.name });
        for (const one of own?.candidates ?? []) if (!predicted.has(one.model)) predicted.set(one.model, one);
      }
      const routed = all.candidates.some((one) => yardstick.models.some(({ name }) => name === one.model));
      this.#tiers = await Promise.all(Object.entries(fleet.tiers_ms).map(([name, budgetMs]) => this.#tier(name, budgetMs, routed ? { task, kind } : null)));
      if (yardstick !== this.#yardstick) return;
      this.#points = models.filter(({ name }) => predicted.has(name)).map((model) => pointOf(model, predicted.get(model.name)));
      hideProblem(byId("frontier-problem"));
      this.#draw();
    } catch (problem) {
      this.fleetFailed(problem);
    }
  }

  async #tier(name, budgetMs, query) {
    const answer = query && (await this.#route({ ...query, tier: name }));
    return { name, budgetMs, chosen: answer?.model ?? null };
  }

  /** The route's answer; null where there is nothing to choose from, which the plot shows by itself. */
  async #route(query) {
    try {
      return (await call("route", { query })).answer;
    } catch (problem) {
      if (problem instanceof Problem && problem.type.endsWith(":not-ready") && fleet.ready) return null;
      throw problem;
    }
  }

  #draw() {
    if (!this.#points.length) return;
    const trained = this.#points.filter((point) => point.accuracy !== null);
    const best = frontierOf(trained);
    for (const point of this.#points) point.onFrontier = best.includes(point);
    const chosenBy = (name) => this.#tiers.filter((tier) => tier.chosen === name).map((tier) => tier.name);
    drawFrontier(byId("frontier-plot"), { points: this.#points, frontier: best, tiers: this.#tiers, metric: this.#yardstick.metric, marked: this.#marked, mark: (name) => this.#mark(name) });
    byId("frontier-legend").replaceChildren(...legend(this.#points));
    byId("frontier-table").replaceChildren(
      h("thead", {}, h("tr", {}, ...["Model", this.#yardstick.metric || "accuracy", "predicted", "typical", "parameters", "file", "input", "weights", "answers tier"].map((text, i) => h(i && i < 6 ? "th.number" : "th", { scope: "col" }, text)))),
      h("tbody", {}, ...[...this.#points].sort((a, b) => (b.accuracy ?? -1) - (a.accuracy ?? -1) || a.ms - b.ms).map((point) => this.#row(point, chosenBy(point.name)))),
    );
  }

  #row(point, tiers) {
    const { model } = point;
    return h(
      `tr${point.onFrontier ? ".on-frontier" : ""}`,
      { "data-model": point.name, onpointerenter: () => this.#mark(point.name), onpointerleave: () => this.#mark(null) },
      h("th", { scope: "row" }, ...breakable(point.name)),
      h("td.number", { title: model.accuracy ? model.accuracy.source : null }, point.accuracy === null ? "untrained" : `${point.accuracy.toFixed(1)} %`),
      h("td.number", {}, ms(point.ms)),
      h("td.number", {}, ms(point.typicalMs)),
      h("td.number", {}, short(model.params)),
      h("td.number", {}, bytes(model.onnx_bytes)),
      h("td", {}, `${model.input.height}×${model.input.width} ${model.precision}`),
      h("td.weights", { title: model.weights.licence || null }, `${model.weights.source}${model.weights.licence ? `, ${model.weights.licence}` : ""}`),
      h("td", {}, tiers.join(", ") || "–"),
    );
  }

  #mark(name) {
    if (this.#marked === name) return;
    this.#marked = name;
    for (const dot of byId("frontier-plot").querySelectorAll("[data-model]")) dot.classList.toggle("marked", dot.dataset.model === name);
    for (const row of byId("frontier-table").querySelectorAll("[data-model]")) row.classList.toggle("marked", row.dataset.model === name);
  }
}

function pointOf(model, predicted) {
  return { name: model.name, model, precision: model.precision, accuracy: model.accuracy?.value ?? null, ms: predicted.predicted_ms, typicalMs: predicted.typical_ms };
}

function legend(points) {
  const precisions = [...new Set(points.map((point) => point.precision))];
  const entries = precisions.map((precision) => h("li", {}, h(`i.sign.sign-${precision}`, { "aria-hidden": "true" }), precision));
  entries.push(h("li", {}, h("i.sign-line", { "aria-hidden": "true" }), "frontier"), h("li", {}, h("i.sign-range", { "aria-hidden": "true" }), "typical to predicted (95 %)"));
  if (points.some((point) => point.accuracy === null)) entries.push(h("li", {}, h("i.sign.sign-untrained", { "aria-hidden": "true" }), "untrained: never chosen"));
  return entries;
}
