// The plot of the Frontier view as SVG: tiers as bands, the Pareto line as steps, a dot a model, untrained ones apart.

import { s } from "./dom.js";
import { ms } from "./format.js";

const MARGIN = { top: 62, right: 18, bottom: 40, left: 50 };
const UNTRAINED_LANE = 40;

/** `points` have { name, ms, typicalMs, accuracy | null, precision, onFrontier }; `tiers` { name, budgetMs, chosen }. */
export function drawFrontier(box, { points, frontier, tiers, metric, marked, mark }) {
  const width = Math.max(280, box.clientWidth);
  const trained = points.filter((point) => point.accuracy !== null);
  const lane = points.length > trained.length ? UNTRAINED_LANE : 0;
  const height = Math.round(Math.min(520, Math.max(340, width * 0.46))) + lane;
  const x = logarithmic(extentX(points, tiers), [MARGIN.left, width - MARGIN.right]);
  const floor = height - MARGIN.bottom - lane;
  const y = linear(extentY(trained), [floor, MARGIN.top]);
  const text = `${trained.length} models, accuracy against predicted time; on the frontier: ${frontier.map((point) => `${point.name} ${point.accuracy} % in ${ms(point.ms)}`).join(", ")}. The table below has every number.`;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": text });
  svg.append(bands(tiers, x, height), ...axes(x, y, { width, height, floor, lane, metric, any: trained.length > 0 }));
  if (frontier.length) svg.append(steps(frontier, x, y, width));
  const taken = points.map((point) => at(point, x, y, floor + lane / 2));
  for (const point of [...points].sort((a, b) => Number(a.onFrontier) - Number(b.onFrontier))) {
    svg.append(dot(point, at(point, x, y, floor + lane / 2), x, marked, mark));
  }
  svg.append(labels([...frontier, ...points.filter((point) => !point.onFrontier)], (point) => at(point, x, y, floor + lane / 2), taken, width));
  box.replaceChildren(svg);
}

function at(point, x, y, laneY) {
  return { x: x(point.ms), y: point.accuracy === null ? laneY : y(point.accuracy) };
}

function extentX(points, tiers) {
  const times = points.flatMap((point) => [point.ms, point.typicalMs]);
  const next = tiers.map((tier) => tier.budgetMs).filter((budget) => budget > Math.max(...times)).slice(0, 1);
  return [Math.max(0.5, Math.min(...times) / 1.6), Math.max(Math.max(...times) * 1.5, ...next.map((budget) => budget * 1.25))];
}

function extentY(trained) {
  if (!trained.length) return [0, 1];
  const values = trained.map((point) => point.accuracy);
  const pad = Math.max(1, (Math.max(...values) - Math.min(...values)) * 0.18);
  return [Math.max(0, Math.min(...values) - pad), Math.min(100, Math.max(...values) + pad)];
}

function bands(tiers, x, height) {
  const group = s("g.bands", { "aria-hidden": "true" });
  const [left, right] = x.range;
  const sorted = [...tiers].sort((a, b) => a.budgetMs - b.budgetMs);
  let from = left;
  sorted.forEach((tier, i) => {
    const to = Math.min(right, Math.max(left, x(tier.budgetMs)));
    if (to - from > 1) {
      group.append(s(`rect.band.band-${i % 2}`, { x: from, y: MARGIN.top - 34, width: to - from, height: height - MARGIN.bottom - MARGIN.top + 34 }));
      if (to < right) group.append(s("line.band-edge", { x1: to, x2: to, y1: MARGIN.top - 34, y2: height - MARGIN.bottom }));
      if (to - from > 56) {
        group.append(s("text.band-name", { x: (from + to) / 2, y: MARGIN.top - 20 }, tier.name), s("text.band-budget", { x: (from + to) / 2, y: MARGIN.top - 6 }, `≤ ${ms(tier.budgetMs)}`));
      }
    }
    from = Math.max(from, to);
  });
  return group;
}

function axes(x, y, { width, height, floor, lane, metric, any }) {
  const group = s("g.axes", { "aria-hidden": "true" });
  const below = height - MARGIN.bottom;
  for (const value of logTicks(x.domain)) {
    group.append(s("line.grid", { x1: x(value), x2: x(value), y1: below, y2: below + 5 }), s("text.tick", { x: x(value), y: below + 18, "text-anchor": "middle" }, String(value)));
  }
  group.append(s("text.axis-name", { x: width - MARGIN.right, y: height - 6, "text-anchor": "end" }, "predicted, ms"));
  if (any) {
    for (const value of linearTicks(y.domain)) {
      group.append(s("line.grid", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }), s("text.tick", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)));
    }
    group.append(s("text.axis-name", { x: 0, y: 11 }, `${metric}, %`));
  }
  group.append(s("line.floor", { x1: MARGIN.left, x2: width - MARGIN.right, y1: below, y2: below }));
  if (lane) group.append(s("line.floor", { x1: MARGIN.left, x2: width - MARGIN.right, y1: floor, y2: floor }), s("text.tick", { x: MARGIN.left + 6, y: floor + 15 }, "untrained: no accuracy"));
  return [group];
}

/** What a budget buys: flat until the next better model fits. */
function steps(frontier, x, y, width) {
  const parts = frontier.map((point, i) => (i ? `H${x(point.ms)}V${y(point.accuracy)}` : `M${x(point.ms)} ${y(point.accuracy)}`));
  return s("path.frontier-line", { d: `${parts.join("")}H${width - MARGIN.right}`, "aria-hidden": "true" });
}

function dot(point, place, x, marked, mark) {
  const classes = ["dot-model", `is-${point.precision}`, point.onFrontier ? "on-frontier" : "", point.accuracy === null ? "untrained" : "", point.name === marked ? "marked" : ""];
  const shape = point.precision === "int8" ? s("rect", { x: -5.5, y: -5.5, width: 11, height: 11, transform: "rotate(45)", rx: 1.5 }) : s("circle", { r: 6.5 });
  return s(
    "g",
    { class: classes.filter(Boolean).join(" "), "data-model": point.name, transform: `translate(${place.x} ${place.y})`, onpointerenter: () => mark(point.name), onpointerleave: () => mark(null) },
    s("line.dot-range", { x1: x(point.typicalMs) - place.x, x2: 0, y1: 0, y2: 0 }),
    shape,
    s("title", {}, `${point.name}: ${point.accuracy === null ? "untrained" : `${point.accuracy} %`}, predicted ${ms(point.ms)}, typically ${ms(point.typicalMs)}`),
  );
}

/** Names beside the dots, where they hide neither a dot nor another name; those left out are in the table. */
function labels(points, placeOf, dots, width) {
  const group = s("g.dot-labels", { "aria-hidden": "true" });
  const placed = [];
  for (const point of points) {
    const { x, y } = placeOf(point);
    const size = { width: point.name.length * 6.7 + 6, height: 15 };
    // Above and below first: to the left runs the range, to the right often the frontier.
    const tries = [[x - size.width / 2, y - 25], [x - size.width / 2, y + 10], [x - size.width + 8, y - 25], [x - 8, y - 25], [x - 8, y + 10], [x - size.width + 8, y + 10], [x + 11, y - 7.5], [x - 11 - size.width, y - 7.5]];
    if (point.accuracy === null) tries.unshift([x + 11, y - 7.5]); // the lane of the untrained is low, and no line runs in it
    const fits = tries.map(([left, top]) => ({ left, top, ...size })).find((box) => box.left >= MARGIN.left && box.left + box.width <= width - 2 && !placed.some((other) => overlap(box, other)) && !dots.some((place) => Math.abs(place.y - (box.top + 7.5)) < 13 && place.x > box.left - 8 && place.x < box.left + box.width + 8 && !(place.x === x && place.y === y)));
    if (!fits) continue;
    placed.push(fits);
    group.append(s(`text.dot-label${point.onFrontier ? ".on-frontier" : ""}`, { x: fits.left + 3, y: fits.top + 11.5 }, point.name));
  }
  return group;
}

function overlap(a, b) {
  return a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
}

function logarithmic(domain, range) {
  const scale = (value) => range[0] + ((range[1] - range[0]) * Math.log(value / domain[0])) / Math.log(domain[1] / domain[0]);
  return Object.assign(scale, { domain, range });
}

function linear(domain, range) {
  const scale = (value) => range[0] + ((range[1] - range[0]) * (value - domain[0])) / (domain[1] - domain[0]);
  return Object.assign(scale, { domain, range });
}

function logTicks([low, high]) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of high / low > 60 ? [1, 3] : [1, 2, 5]) ticks.push(Number((digit * 10 ** power).toPrecision(3)));
  }
  return ticks.filter((value) => value >= low && value <= high);
}

function linearTicks([low, high]) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((value) => value >= rough);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) ticks.push(Number(value.toFixed(6)));
  return ticks;
}
