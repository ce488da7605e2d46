// The colour of a class or thing: the same rule as service/drawing.py, so that page and overlay=true agree.

const GOLDEN_RATIO = 0.618033988749895;

/** [r, g, b] of the n-th class, 0..255. */
export function colourOf(number) {
  const hue = (0.02 + number * GOLDEN_RATIO) % 1;
  return rgb(hue, number % 2 ? 0.85 : 0.65);
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** What can be read on it. */
export function inkOn([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff";
}

function rgb(hue, saturation) {
  const channel = (shift) => {
    const k = (shift + hue * 6) % 6;
    return Math.round(255 * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}
