// Which models may be compared: the same task, labels, metric and data. An accuracy means nothing beside another's.

/** [{ key, label, models, untrained }], the largest first. A model without accuracy goes with all of its task and labels. */
export function yardsticksOf(models) {
  const found = new Map();
  for (const model of models.filter((model) => model.accuracy)) {
    const { metric, dataset } = model.accuracy;
    const key = [model.task, model.segment_kind, model.labels, metric, dataset].join("|");
    const what = model.segment_kind ? `${model.task}, ${model.segment_kind}` : model.task;
    const yardstick = found.get(key) ?? { key, like: likeOf(model), label: `${what}: ${metric} on ${dataset}`, metric, models: [] };
    yardstick.models.push(model);
    found.set(key, yardstick);
  }
  const without = models.filter((model) => !model.accuracy);
  const taken = new Set();
  for (const yardstick of found.values()) {
    yardstick.untrained = without.filter((model) => likeOf(model) === yardstick.like);
    yardstick.untrained.forEach((model) => taken.add(model));
  }
  for (const model of without.filter((model) => !taken.has(model))) {
    const key = likeOf(model);
    const alone = found.get(key) ?? { key, like: key, label: `${model.task}: ${model.labels}, no accuracy known`, metric: "", models: [], untrained: [] };
    alone.untrained.push(model);
    found.set(key, alone);
  }
  return [...found.values()].sort((a, b) => b.models.length - a.models.length);
}

function likeOf(model) {
  return [model.task, model.segment_kind, model.labels].join("|");
}
