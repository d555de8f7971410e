// What Prometheus answers, as rows and columns: a row is what the labels name and has a colour, a column is a query.

const LABEL = /\{\{(\w+)\}\}/g;
const FRESH = 2; // steps after which a value counts as gone

// Returns {rows: [{name, lines: [[value or null, ...] or undefined, one a column]}], columns: [name]}.
export function table(queries, answers, range) {
  const rows = new Map();
  const columns = [];
  queries.forEach(({ legend }, number) => {
    const labels = [...legend.matchAll(LABEL)].map((found) => found[1]);
    const words = legend.replace(LABEL, "").trim();
    const column = labels.length ? words : "";
    if (!columns.includes(column)) columns.push(column);
    for (const { metric, values } of answers[number]) {
      const name = labels.length ? labels.map((label) => metric[label]).filter(Boolean).join(" ") || "–" : words;
      const line = filled(values, range);
      if (line.every((value) => value === null)) continue;
      if (!rows.has(name)) rows.set(name, { name, lines: [] });
      rows.get(name).lines[columns.indexOf(column)] = line;
    }
  });
  const sorted = [...rows.values()].sort((one, other) => weight(other) - weight(one));
  return { rows: sorted, columns };
}

// One value for each step of the range; null where there is none, or no number.
function filled(values, { start, step, count }) {
  const line = new Array(count).fill(null);
  for (const [time, text] of values) {
    const value = Number(text);
    if (Number.isFinite(value)) line[Math.round((time - start) / step)] = value;
  }
  return line;
}

const weight = (row) => latest(row.lines.findLast((line) => line)) ?? -1;

// The newest value that is not yet gone.
export function latest(line) {
  return line?.slice(-FRESH).findLast((value) => value !== null) ?? null;
}
