// The answer as a list with bars, and the legend under the picture.

import { css } from "./colours.js";
import { h, styled } from "./dom.js";
import { percent, plural } from "./format.js";

/** One row a prediction. `focus(one | null)` as the pointer or the keyboard goes over them. */
export function showPredictions(list, found, focus, nothing) {
  const rows = found.map((one) => {
    const share = one.score ?? one.share ?? 0;
    const bar = styled(h("span.bar-fill"), { width: `${(100 * share).toFixed(2)}%` });
    if (one.box || one.rle) bar.style.setProperty("background", css(one.colour));
    const row = h(
      "li.prediction",
      { onpointerenter: () => focus(one), onpointerleave: () => focus(null) },
      h("span.prediction-label", {}, one.label),
      h("span.bar-track", { "aria-hidden": "true" }, bar),
      h("span.prediction-score", {}, one.score === null ? percent(share) : one.score.toFixed(share < 0.1 ? 3 : 2)),
    );
    return row;
  });
  list.replaceChildren(...(rows.length ? rows : [h("li.nothing", {}, nothing)]));
}

/** One button a group; pressed means shown. `toggle(group)` when one is pressed. */
export function showLegend(list, groups, hidden, toggle) {
  list.hidden = groups.length === 0;
  list.replaceChildren(
    ...groups.map(({ group, label, colour, count }) =>
      h(
        "li",
        {},
        h(
          "button.chip",
          { type: "button", "aria-pressed": String(!hidden.has(group)), "data-group": group, onclick: () => toggle(group) },
          styled(h("i", { "aria-hidden": "true" }), { background: css(colour) }),
          label,
          count > 1 ? h("span.chip-count", {}, `×${count}`) : null,
        ),
      ),
    ),
  );
}

/** "2 of 5 shown", for the threshold. */
export function countText(shown, all) {
  return shown === all ? plural(all, "thing", "things") : `${shown} of ${plural(all, "thing", "things")}`;
}
