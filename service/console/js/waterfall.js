// Where the time went: every step of timing_ms after the one before it.

import { h, styled } from "./dom.js";
import { ms } from "./format.js";

const MEANINGS = {
  read: "the body arrives",
  decode: "to pixels, at the model's size",
  queue: "waiting for a processor",
  infer: "the model",
  post: "the answer is made",
};

export function showWaterfall(box, answer) {
  const { total, ...steps } = answer.timing_ms;
  const { budget_ms: budgetMs, predicted_ms: predictedMs } = answer.routing;
  const end = Math.max(total, predictedMs, budgetMs <= 2.5 * Math.max(total, predictedMs) ? budgetMs : 0) * 1.02;
  const share = (value) => `${(100 * value) / end}%`;
  let at = 0;
  const rows = Object.entries(steps).map(([name, took]) => {
    const bar = styled(h(`span.step-bar.step-${name}`), { left: share(at), width: share(took) });
    at += took;
    return row(name, MEANINGS[name] ?? "", [bar, ...marks(share, predictedMs, budgetMs, end)], ms(took));
  });
  const whole = styled(h("span.step-bar.step-total"), { left: "0%", width: share(total) });
  rows.push(row("total", "", [whole, ...marks(share, predictedMs, budgetMs, end)], ms(total)));
  box.replaceChildren(
    h("ol.waterfall", {}, ...rows),
    h("p.marks-legend", {}, h("span.mark-predicted", {}, `predicted ${ms(predictedMs)}`), h("span.mark-budget", {}, `budget ${ms(budgetMs)}${budgetMs > end ? " →" : ""}`)),
  );
}

function row(name, meaning, bars, text) {
  return h("li.step", { "data-step": name }, h("span.step-name", { title: meaning || null }, name), h("span.track", { "aria-hidden": "true" }, ...bars), h("span.step-ms", {}, text));
}

function marks(share, predictedMs, budgetMs, end) {
  const found = [styled(h("span.mark.mark-predicted"), { left: share(predictedMs) })];
  if (budgetMs <= end) found.push(styled(h("span.mark.mark-budget"), { left: share(budgetMs) }));
  return found;
}
