// A refusal on the page: the API's own words and numbers, nothing added.

import { h } from "./dom.js";
import { ms } from "./format.js";

export function showProblem(card, problem) {
  const fact = (name, value) => (value === undefined || value === "" ? [] : [h("dt", {}, name), h("dd", {}, value)]);
  card.replaceChildren(...[
    h("h2", {}, problem.status ? h("span.status-code", {}, String(problem.status)) : null, problem.title),
    h("p.detail", {}, problem.detail),
    h(
      "dl.facts",
      {},
      ...fact("field", problem.field),
      ...fact("limit", problem.limit),
      ...fact("retry after", problem.retry_after_s === undefined ? undefined : ms(problem.retry_after_s * 1000)),
      ...fact("type", problem.type),
      ...fact("request", problem.instance),
    ),
    problem.status === 401 ? h("button.button", { type: "button", popovertarget: "key-popover" }, "Enter a key") : null,
  ].filter(Boolean));
  card.hidden = false;
}

export function hideProblem(card) {
  card.hidden = true;
  card.replaceChildren();
}
