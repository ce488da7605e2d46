// COCO's compressed run lengths. Source: cocoapi, common/maskApi.c, rleFrString.

/** Where each run ends, counted down the columns; runs are outside, inside, outside, … in turn. */
export function runEnds(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const code = counts.charCodeAt(at++) - 48;
      value |= (code & 0x1f) << shift;
      shift += 5;
      more = (code & 0x20) !== 0;
      if (!more && code & 0x10) value |= -1 << shift;
    }
    // From the fourth on it is the difference to the one before last.
    lengths.push(lengths.length > 2 ? value + lengths[lengths.length - 2] : value);
  }
  const ends = new Uint32Array(lengths.length);
  let end = 0;
  lengths.forEach((length, i) => (ends[i] = end += length));
  return ends;
}

/** The mask at another size, nearest neighbour: width × height bytes, row by row, 1 inside. */
export function maskAt(rle, width, height) {
  const ends = runEnds(rle.counts);
  const [fromHeight, fromWidth] = rle.size;
  const mask = new Uint8Array(width * height);
  for (let x = 0; x < width; x++) {
    const column = Math.floor(((x + 0.5) * fromWidth) / width) * fromHeight;
    let run = firstEndBehind(ends, column);
    for (let y = 0; y < height; y++) {
      const pixel = column + Math.floor(((y + 0.5) * fromHeight) / height);
      while (run < ends.length && ends[run] <= pixel) run++;
      if (run % 2 && run < ends.length) mask[y * width + x] = 1;
    }
  }
  return mask;
}

function firstEndBehind(ends, pixel) {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= pixel) low = middle + 1;
    else high = middle;
  }
  return low;
}
