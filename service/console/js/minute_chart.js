// The last sixty seconds as bars or lines; now is at the right.

import { s } from "./dom.js";
import { ms } from "./format.js";

const SECONDS = 60;
const HEIGHT = 150;
const MARGIN = { top: 8, right: 4, bottom: 20, left: 46 };

/** `values` [{ whole, part }], oldest first: the part in colour, the rest of the whole pale. */
export function drawBars(box, values, unit) {
  const chart = frame(box, Math.max(1, ...values.map(({ whole }) => whole)), (value) => String(value), `at most ${Math.max(0, ...values.map(({ whole }) => whole))} ${unit}`);
  const each = chart.width / SECONDS;
  values.forEach(({ whole, part }, i) => {
    const left = chart.left + (SECONDS - values.length + i) * each;
    const bar = (name, value) => s(name, { x: left + each * 0.12, width: each * 0.76, y: chart.y(value), height: chart.floor - chart.y(value), rx: 1 });
    if (whole > part) chart.svg.append(bar("rect.bar-ended", whole));
    if (part) chart.svg.append(bar("rect.bar-answers", part));
  });
  box.replaceChildren(chart.svg);
}

// A line is drawn across one silent second, not across more: there it would tell of times that nobody saw.
const LONGEST_GAP_S = 2;

/** `values` [[p50, p95]], one a second, null where nothing was answered. */
export function drawLines(box, values) {
  const known = values.flat().filter((value) => value !== null);
  const chart = frame(box, Math.max(1, ...known), ms, known.length ? `at most ${ms(Math.max(...known))}` : "nothing answered");
  const each = chart.width / SECONDS;
  ["line-p50", "line-p95"].forEach((name, which) => {
    const places = values.map((pair, i) => [chart.left + (SECONDS - values.length + i + 0.5) * each, pair[which]]).filter(([, value]) => value !== null);
    for (const part of unbroken(places, LONGEST_GAP_S * each * 1.01)) {
      chart.svg.append(s(`polyline.${name}`, { points: part.map(([x, value]) => `${x.toFixed(1)},${chart.y(value).toFixed(1)}`).join(" ") }));
    }
    for (const [x, value] of places) chart.svg.append(s(`circle.${name}`, { cx: x, cy: chart.y(value), r: places.length > 30 ? 1.2 : 2 }));
  });
  box.replaceChildren(chart.svg);
}

function unbroken(places, longest) {
  const parts = [];
  for (const place of places) {
    const last = parts.at(-1)?.at(-1);
    if (last && place[0] - last[0] <= longest) parts.at(-1).push(place);
    else parts.push([place]);
  }
  return parts;
}

function frame(box, most, said, text) {
  const width = Math.max(240, box.clientWidth);
  const top = niceAbove(most);
  const floor = HEIGHT - MARGIN.bottom;
  const y = (value) => floor - ((floor - MARGIN.top) * value) / top;
  const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": `The last minute: ${text}` });
  for (const value of [0, top / 2, top]) {
    svg.append(s("line.grid", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
    if (value || top > 1) svg.append(s("text.tick", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, said(value)));
  }
  const inner = width - MARGIN.left - MARGIN.right;
  for (const ago of [60, 40, 20]) svg.append(s("text.tick", { x: MARGIN.left + inner * (1 - ago / SECONDS), y: HEIGHT - 4, "text-anchor": ago === 60 ? "start" : "middle" }, `${ago} s ago`));
  svg.append(s("text.tick", { x: width - MARGIN.right, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
  return { svg, y, floor, left: MARGIN.left, width: inner };
}

/** 1, 2 or 4 times a power of ten, so that its half is a whole tick too. */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((digit) => digit * power).find((nice) => nice >= value);
}
