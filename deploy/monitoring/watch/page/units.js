// Numbers as people read them.

const THOUSANDS = [[1e9, " G"], [1e6, " M"], [1e4, " k", 1e3]];
const BYTES = [[2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [0, " B", 1]];
const SECONDS = [[120, " min", 60], [1, " s"], [1e-3, " ms"], [0, " µs", 1e-6]];

// The factor and the sign of a unit for numbers about as large as `size`.
function scale(unit, size) {
  if (unit === "percentunit") return [0.01, " %"];
  const table = { s: SECONDS, bytes: BYTES }[unit] ?? THOUSANDS;
  const row = size === 0 && unit === "s" ? SECONDS[1] : table.find(([from]) => size >= from);
  const [factor, sign] = row ? [row[2] ?? row[0], row[1]] : [1, ""];
  return [factor, unit === "reqps" || unit === "ops" ? `${sign} /s` : sign];
}

function digits(number) {
  const size = Math.abs(number);
  if (Number.isInteger(number) || size >= 99.95) return number.toFixed(0);
  if (size >= 9.995) return number.toFixed(1);
  if (size >= 0.0995) return number.toFixed(2);
  return String(Number(number.toPrecision(2)));
}

// One value with its unit.
export function reading(unit, value) {
  if (value === null || value === undefined) return "–";
  const [factor, sign] = scale(unit, Math.abs(value));
  return digits(value / factor) + sign;
}

// A number that somebody chose: no more digits than it has.
export function chosen(unit, value) {
  const [factor, sign] = scale(unit, value);
  return Number((value / factor).toPrecision(6)) + sign;
}

// Ticks from 0 to at least `most`: at most four, on round numbers of the unit. Returns [[value, text], ...].
export function ticks(unit, most, whole) {
  const [factor, sign] = scale(unit, unit === "s" ? 1.2 * most : most); // 1 ms rather than 1000 µs at the top
  const size = most / factor;
  let step = 1;
  if (unit === "bytes") {
    step = 2 ** Math.ceil(Math.log2(Math.max(size, factor === 1 ? 3 : 0) / 3));
  } else {
    const power = 10 ** Math.floor(Math.log10(size / 3));
    step = power * [1, 2, 2.5, 5, 10].find((one) => one * power * 3 >= size * 0.9999);
    if (whole) step = Math.max(1, Math.ceil(step));
  }
  const count = Math.max(1, Math.ceil(size / step - 1e-6));
  const text = (number) => (number === 0 ? "0" : String(Number(number.toPrecision(6))) + sign);
  return Array.from({ length: count + 1 }, (_, n) => [n * step * factor, text(n * step)]);
}

export function clock(seconds, withSeconds = false) {
  const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(withSeconds && { second: "2-digit" }) };
  return new Date(seconds * 1000).toLocaleTimeString("en", form);
}

export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
