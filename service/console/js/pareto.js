// Who is beaten by nobody: as accurate as any that is as fast.

/** Those of `points` ({ ms, accuracy }) that no other is both faster and more accurate than; fastest first. */
export function frontierOf(points) {
  const fastestFirst = [...points].sort((a, b) => a.ms - b.ms || b.accuracy - a.accuracy);
  const found = [];
  for (const point of fastestFirst) {
    if (!found.length || point.accuracy > found[found.length - 1].accuracy) found.push(point);
  }
  return found;
}
