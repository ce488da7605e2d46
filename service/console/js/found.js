// What an answer holds, as the stage, the legend and the list all see it.

import { colourOf } from "./colours.js";

/**
 * One entry a prediction: { label, score, share, box, rle, colour, group }.
 * `group` is what the legend switches: a class of a map or of boxes, a thing where things have masks.
 */
export function foundIn(task, answer) {
  const pixels = answer.image.width * answer.image.height;
  const things = task === "segment" && answer.kind === "instance";
  const segments = task === "segment" && answer.kind !== "semantic";
  return answer.predictions.map((prediction, i) => ({
    label: prediction.label,
    score: prediction.score,
    share: prediction.area_px === undefined ? null : prediction.area_px / pixels,
    box: task === "detect" || things ? prediction.box : null,
    rle: prediction.rle ?? null,
    colour: colourOf(segments ? i : prediction.class_id),
    group: segments ? `#${i}` : `${prediction.class_id}`,
  }));
}

/** The legend's entries: { group, label, colour, count }, in the order of the answer. */
export function groupsOf(found) {
  const groups = new Map();
  for (const one of found) {
    const group = groups.get(one.group) ?? { group: one.group, label: one.label, colour: one.colour, count: 0 };
    group.count += 1;
    groups.set(one.group, group);
  }
  return [...groups.values()];
}
