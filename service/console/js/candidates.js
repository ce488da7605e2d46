// Which model, why, and what the others would have taken: POST /v1/route, drawn.

import { breakable, h, styled } from "./dom.js";
import { ms } from "./format.js";

/** `routing.reason` in words, as docs/api.md has them. */
export const REASONS = {
  "most-accurate": "the most accurate model there is would answer in time",
  "within-budget": "a more accurate one exists, but would not surely be in time",
  "cheaper-equal": "within 0.3 points of the most accurate feasible one, and cheaper",
  held: "a better one has only just become feasible; the router waits for three such decisions in a row",
  "circuit-open": "a better one fails time after time, and is left out for a while",
  degraded: "none is surely in time: this is the fastest, which typically is",
  pinned: "you named it",
};

/** A row each: accuracy, and on a logarithmic scale from typical to predicted, beside the budget. */
export function showCandidates(box, candidates, budgetMs, answeredBy) {
  const times = candidates.flatMap((one) => [one.typical_ms, one.predicted_ms]).concat(budgetMs);
  const [low, high] = [Math.min(...times) / 1.3, Math.max(...times) * 1.3];
  const at = (value) => `${(100 * Math.log(value / low)) / Math.log(high / low)}%`;
  const isChosen = (one) => (answeredBy ? one.model === answeredBy : one.chosen);
  const others = candidates.filter((one) => one.why_not && !isChosen(one)).map((one) => one.why_not);
  const shared = new Set(others.filter((reason, i) => others.indexOf(reason) !== i));
  const rows = candidates.map((one) => row(one, { at, budgetMs, chosen: isChosen(one), answered: Boolean(answeredBy), shared }));
  box.replaceChildren(
    h("table.candidates", {}, head(at, budgetMs), h("tbody", {}, ...rows)),
    h("p.candidates-foot.candidates-scale.hint", {}, h("span.sign-span", { "aria-hidden": "true" }), "typical to predicted (95 % stay below), logarithmic; ", h("span.sign-budget", { "aria-hidden": "true" }), `the budget, ${ms(budgetMs)}.`),
    ...[...shared].map((reason) => h("p.candidates-foot.hint", {}, h("b", {}, "· "), `${reason}.`)),
  );
}

function head(at, budgetMs) {
  const side = parseFloat(at(budgetMs)) > 50 ? "left-of" : "right-of";
  const flag = styled(h(`span.budget-flag.${side}`, { "aria-hidden": "true" }, ms(budgetMs)), { left: at(budgetMs) });
  return h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col" }, "Candidate"),
      h("th.number", { scope: "col" }, "Accuracy"),
      h("th", { scope: "col" }, h("span.axis", {}, h("span.visually-hidden", {}, "Typical time"), flag)),
      h("th.number", { scope: "col" }, "Predicted"),
    ),
  );
}

function row(one, { at, budgetMs, chosen, answered, shared }) {
  const span = styled(h("span.span"), { left: at(one.typical_ms), right: `calc(100% - ${at(one.predicted_ms)})` });
  const dot = styled(h("span.dot"), { left: at(one.predicted_ms) });
  const line = styled(h("span.budget-line"), { left: at(budgetMs) });
  const late = one.predicted_ms > budgetMs;
  const whyNot = chosen ? null : one.why_not;
  return h(
    `tr${chosen ? ".chosen" : ""}${late ? ".late" : ""}`,
    { "data-model": one.model },
    h(
      "th",
      { scope: "row" },
      h("span.candidate-name", {}, ...breakable(one.model)),
      chosen ? h("span.badge", {}, answered ? "answered" : "would answer") : null,
      whyNot && shared.has(whyNot) ? h("span.shared-reason", { title: whyNot }, " ·", h("span.visually-hidden", {}, whyNot)) : null,
      whyNot && !shared.has(whyNot) ? h("span.why-not", {}, whyNot) : null,
    ),
    h("td.number", {}, one.accuracy === null ? "–" : `${one.accuracy.toFixed(1)} %`),
    h("td.times", {}, h("span.track", { "aria-hidden": "true" }, line, span, dot), h("span.visually-hidden", {}, ms(one.typical_ms))),
    h("td.number", {}, ms(one.predicted_ms)),
  );
}
