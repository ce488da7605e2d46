// The form: task, budget, and the rarer wishes. Reads them as the API's parameters, and keeps them in the address.

import { byId, h } from "./dom.js";
import { ms, rounded } from "./format.js";

const TASKS = { classify: "Classify", detect: "Detect", segment: "Segment" };
const KINDS = { semantic: ["Semantic", "classes"], instance: ["Instance", "things"], panoptic: ["Panoptic", "both"] };
const LEAST_MS = 2;
const MOST_MS = 10_000;

export class Wishes {
  #changed;
  #sliding;
  #tiers = {};
  #maxMs = 60_000;
  /** A tier by name, or milliseconds. */
  #budget = { tier: "standard" };

  /** `changed()` when something was chosen; `sliding()` while the budget is still being dragged. */
  constructor(changed, sliding) {
    this.#changed = changed;
    this.#sliding = sliding;
    fill(byId("tasks"), "task", TASKS, () => this.#taskChosen());
    fill(byId("kinds"), "kind", KINDS, () => changed());
    this.#read(new URLSearchParams(location.search));
    byId("budget").addEventListener("input", () => this.#slid());
    byId("budget").addEventListener("change", () => changed());
    byId("budget-ms").addEventListener("change", () => this.#typed());
    for (const id of ["model", "min-accuracy", "on-infeasible", "late", "strategy"]) byId(id).addEventListener("change", () => changed());
    this.#showTask();
  }

  get task() {
    return chosen("task");
  }

  set task(name) {
    byId(`task-${name}`).checked = true;
    this.#showTask();
  }

  get budgetMs() {
    return this.#budget.tier ? this.#tiers[this.#budget.tier] ?? 150 : this.#budget.ms;
  }

  /** What POST /v1/route is asked. */
  routeQuery() {
    return { task: this.task, ...this.#common() };
  }

  /** What the task's own operation is asked. */
  taskQuery() {
    const strategy = this.task === "classify" ? { strategy: byId("strategy").value } : {};
    return { ...this.#common(), ...strategy, late: byId("late").value };
  }

  /** The query of this page's own address, so that it can be passed on. */
  pageQuery() {
    const { task, kind, tier, latency_budget_ms, model } = this.routeQuery();
    return { task, kind, tier, latency_budget_ms, model };
  }

  /** Takes the tiers, models and kinds that this gateway has. */
  offer(fleet) {
    this.#maxMs = fleet.max_budget_ms;
    if (JSON.stringify(this.#tiers) !== JSON.stringify(fleet.tiers_ms)) {
      this.#tiers = fleet.tiers_ms;
      const labels = Object.fromEntries(Object.entries(this.#tiers).map(([tier, budget]) => [tier, [tier, ms(budget)]]));
      fill(byId("tiers"), "tier", labels, () => this.#tierChosen());
    }
    this.#models = fleet.models;
    this.#showBudget();
    this.#showTask();
  }

  #models = [];

  #common() {
    const budget = this.#budget.tier ? { tier: this.#budget.tier } : { latency_budget_ms: this.#budget.ms };
    const kind = this.task === "segment" ? { kind: chosen("kind") } : {};
    return {
      ...kind,
      ...budget,
      model: byId("model").value,
      min_accuracy: byId("min-accuracy").value,
      on_infeasible: byId("on-infeasible").value,
    };
  }

  #read(query) {
    const task = query.get("task") in TASKS ? query.get("task") : "classify";
    byId(`task-${task}`).checked = true;
    byId(`kind-${query.get("kind") in KINDS ? query.get("kind") : "semantic"}`).checked = true;
    const budgetMs = Number(query.get("latency_budget_ms"));
    if (budgetMs > 0) this.#budget = { ms: budgetMs };
    else if (query.get("tier")) this.#budget = { tier: query.get("tier") };
    this.#wantedModel = query.get("model") ?? "";
  }

  #wantedModel = "";

  #taskChosen() {
    byId("model").value = "";
    this.#wantedModel = "";
    this.#showTask();
    this.#changed();
  }

  #showTask() {
    byId("kinds").hidden = this.task !== "segment";
    for (const element of document.querySelectorAll("#ask [data-of]")) element.hidden = element.dataset.of !== this.task;
    const kinds = new Set(this.#models.map((model) => model.segment_kind));
    for (const kind of Object.keys(KINDS)) byId(`kind-${kind}`).disabled = this.#models.length > 0 && !kinds.has(kind);
    const select = byId("model");
    const keep = select.value || this.#wantedModel;
    const names = this.#models.filter((model) => model.task === this.task).map((model) => model.name);
    select.replaceChildren(h("option", { value: "" }, "the router chooses"), ...names.map((name) => h("option", { value: name }, name)));
    select.value = names.includes(keep) ? keep : "";
    byId("ask").querySelector(".more").open ||= select.value !== "";
  }

  #tierChosen() {
    this.#budget = { tier: chosen("tier") };
    this.#showBudget();
    this.#changed();
  }

  #slid() {
    const share = byId("budget").valueAsNumber / 1000;
    this.#budget = { ms: rounded(LEAST_MS * (MOST_MS / LEAST_MS) ** share) };
    this.#showBudget(byId("budget"));
    this.#sliding();
  }

  #typed() {
    const number = byId("budget-ms").valueAsNumber;
    if (number > 0) this.#budget = { ms: number };
    this.#showBudget();
    this.#changed();
  }

  #showBudget(except = null) {
    const budgetMs = this.budgetMs;
    const share = Math.log(budgetMs / LEAST_MS) / Math.log(MOST_MS / LEAST_MS);
    if (except !== byId("budget")) byId("budget").value = String(Math.round(1000 * Math.min(1, Math.max(0, share))));
    byId("budget").setAttribute("aria-valuetext", ms(budgetMs));
    byId("budget-ms").value = String(budgetMs);
    byId("budget-ms").max = String(this.#maxMs);
    for (const radio of byId("tiers").querySelectorAll("input")) radio.checked = radio.value === this.#budget.tier;
  }
}

function chosen(name) {
  return document.querySelector(`#ask input[name="${name}"]:checked`)?.value ?? "";
}

/** Radio buttons that look like one bar; a label is a text, or a text and what stands small below it. */
function fill(fieldset, name, labels, changed) {
  fieldset.querySelector(".bar")?.remove();
  const bar = h("div.bar");
  for (const [value, label] of Object.entries(labels)) {
    const [text, small] = [label].flat();
    const radio = h("input", { type: "radio", name, value, id: `${name}-${value}`, onchange: changed });
    bar.append(radio, h("label", { for: radio.id }, text, small ? h("small", {}, small) : null));
  }
  fieldset.append(bar);
}
