// Numbers as people read them.

/** 0.42 → "0.42 ms", 31.4 → "31 ms", 5000 → "5 s" */
export function ms(value) {
  if (value >= 1000) return `${trimmed(value / 1000, value >= 10000 ? 0 : 1)} s`;
  if (value >= 100) return `${Math.round(value)} ms`;
  return `${trimmed(value, value >= 10 ? 1 : 2)} ms`;
}

export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.05) return "< 0.1 %";
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

export function bytes(count) {
  if (count >= 1 << 20) return `${trimmed(count / (1 << 20), 1)} MiB`;
  return count >= 1024 ? `${Math.round(count / 1024)} KiB` : `${count} B`;
}

/** 4652000 → "4.7 M" */
export function short(count) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (count >= size) return `${trimmed(count / size, 1)} ${unit}`;
  return String(count);
}

/** Two significant digits: what a slider can honestly say. */
export function rounded(value) {
  const power = 10 ** (Math.floor(Math.log10(value)) - 1);
  return Number((Math.round(value / power) * power).toPrecision(6));
}

export function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

function trimmed(value, digits) {
  return String(Number(value.toFixed(digits)));
}
