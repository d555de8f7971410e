// One panel: lines over time in SVG, what they are, and the values under a cursor that all panels share.

import { latest, table } from "./series.js";
import { chosen, clock, reading, ticks } from "./units.js";

const HEIGHT = 140;
const EDGE = { top: 14, left: 52, bottom: 20, right: 8 };
// So many lines, with names of so few pixels, are named at their end; others in a table below.
const DIRECT = { lines: 5, name: 88, width: 136 };
const LINE = 14; // pixels from one name to the next
const COLOURS = 8;
const STEPS = [60, 180, 300, 600, 900, 1800, 3600, 7200];

export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const pen = document.createElement("canvas").getContext("2d");
const widthOf = (text) => pen.measureText(text).width;

export class Plot {
  // `move` is called with a step of the range, or null, when the cursor goes there.
  constructor(panel, id, move) {
    this.panel = panel;
    this.move = move;
    this.slots = new Map(); // a name keeps its colour
    this.drawn = null;
    this.at = null;
    this.svg = draw("svg", { height: HEIGHT, "aria-hidden": "true" });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.field = make("div", { class: "field", tabindex: 0, role: "slider", "aria-label": panel.title }, this.svg, this.tip);
    this.below = make("div", { class: "below" });
    const title = make("h3", { id: `${id}-title` }, panel.title);
    const head = make("div", {}, title, make("p", { class: "meaning" }, panel.meaning.replaceAll(" %", "\u00a0%")));
    this.element = make("article", { id, class: "panel", "aria-labelledby": title.id }, head, this.field, this.below);
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(this.field);
  }

  listen() {
    this.field.addEventListener("pointermove", (event) => this.moveTo(event.clientX));
    this.field.addEventListener("pointerdown", (event) => this.moveTo(event.clientX));
    this.field.addEventListener("pointerleave", () => this.leave());
    this.field.addEventListener("blur", () => this.leave());
    this.field.addEventListener("keydown", (event) => this.key(event));
  }

  leave() {
    this.tip.hidden = true;
    this.move(null);
  }

  moveTo(clientX) {
    if (!this.drawn) return;
    const { x0, x1, range } = this.drawn;
    const share = (clientX - this.svg.getBoundingClientRect().left - x0) / (x1 - x0);
    this.show(Math.round(share * (range.count - 1)));
  }

  key(event) {
    if (!this.drawn) return;
    const last = this.drawn.range.count - 1;
    const from = this.at ?? last + 1;
    const stride = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: from - stride, ArrowRight: from + stride, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) this.leave();
    else this.show(to);
  }

  // Puts the cursor of all panels onto a step, and tells this panel's values.
  show(step) {
    const at = Math.min(this.drawn.range.count - 1, Math.max(0, step));
    this.tip.hidden = false;
    this.move(at);
  }

  answer(answers, range) {
    this.told = { ...table(this.panel.queries, answers, range), range };
    for (const { name } of [...this.told.rows].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }))) {
      if (!this.slots.has(name)) this.slots.set(name, this.slots.size % COLOURS);
    }
    this.redraw();
  }

  // Says in the place of the lines why there are none.
  fail(why) {
    this.told = null;
    this.say("failed", "failed", why);
  }

  say(state, what, why) {
    this.element.dataset.state = state;
    this.drawn = null;
    this.tip.hidden = true;
    const middle = this.field.clientWidth / 2;
    const lines = [what, why].filter(Boolean).map((text, line) => {
      return draw("text", { x: middle, y: HEIGHT / 2 + 16 * line - 6, class: line ? "why" : "empty" }, text);
    });
    this.svg.replaceChildren(...lines);
    this.below.replaceChildren();
    this.field.setAttribute("aria-valuetext", [what, why].filter(Boolean).join(": "));
  }

  redraw() {
    if (!this.told || !this.field.clientWidth) return;
    const { rows, columns, range } = this.told;
    if (!rows.length) {
      this.say("empty", "no data", this.panel.whyEmpty);
      return;
    }
    pen.font = getComputedStyle(this.svg).font;
    const width = this.field.clientWidth;
    const widest = Math.max(...rows.map((row) => widthOf(row.name)));
    const direct = columns.length === 1 && rows.length <= DIRECT.lines && widest <= DIRECT.name;
    const all = rows.flatMap((row) => row.lines.flatMap((line) => line ?? [])).filter((value) => value !== null);
    const limit = this.panel.limit?.value ?? 0;
    const most = Math.max(...all);
    const near = limit > 0 && limit <= Math.max(4 * most, most === 0 ? limit : 0);
    const marks = ticks(this.panel.unit, (near ? Math.max(most, 1.1 * limit) : most) || 1, all.every(Number.isInteger));
    this.drawn = { range, x0: EDGE.left, x1: width - EDGE.right - (direct ? DIRECT.width : 0), top: marks.at(-1)[0], direct };
    this.cursor = draw("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    const lines = rows.flatMap((row) => this.lines(row, columns.length));
    const ends = direct ? this.ends(rows) : [];
    this.svg.replaceChildren(...this.axes(marks), ...lines, ...this.limit(near), ...ends, this.cursor);
    this.below.replaceChildren(...(direct ? [] : [this.readings(latest)]));
    this.element.dataset.state = "drawn";
    this.field.setAttribute("aria-valuemin", 0);
    this.field.setAttribute("aria-valuemax", range.count - 1);
    this.point(this.at);
  }

  x(step) {
    return this.drawn.x0 + ((this.drawn.x1 - this.drawn.x0) * step) / (this.drawn.range.count - 1);
  }

  y(value) {
    return HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.bottom - EDGE.top) * value) / this.drawn.top;
  }

  axes(marks) {
    const { x0, x1, range } = this.drawn;
    const across = marks.flatMap(([value, text]) => [
      draw("line", { class: value ? "rule" : "base", x1: x0, x2: x1, y1: this.y(value), y2: this.y(value) }),
      draw("text", { class: "tick", x: x0 - 6, y: this.y(value) + 4 }, text),
    ]);
    const seconds = (range.count - 1) * range.step;
    const every = STEPS.find((step) => ((x1 - x0) * step) / seconds >= 44) ?? STEPS.at(-1);
    const zone = new Date(range.start * 1000).getTimezoneOffset() * 60;
    const first = Math.ceil((range.start - zone) / every) * every + zone;
    for (let time = first; time <= range.start + seconds; time += every) {
      const x = this.x((time - range.start) / range.step);
      across.push(draw("text", { class: "time", x, y: HEIGHT - 5 }, clock(time)));
      across.push(draw("line", { class: "base", x1: x, x2: x, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 3 }));
    }
    return across;
  }

  lines(row, columns) {
    return row.lines.map((line, column) => {
      let path = "";
      line.forEach((value, step) => {
        if (value === null) return;
        const begins = step === 0 || line[step - 1] === null;
        const place = `${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}`;
        path += begins ? `M${place}h0` : `L${place}`; // the stroke of no length shows a value that stands alone
      });
      return draw("path", { class: `line c${this.slots.get(row.name)}${column < columns - 1 ? " thin" : ""}`, d: path });
    });
  }

  limit(near) {
    if (!this.panel.limit) return [];
    const { value, name } = this.panel.limit;
    const text = `${name} ${chosen(this.panel.unit, value)}`;
    const { x0, x1 } = this.drawn;
    if (!near) return [draw("text", { class: "limit", x: x0 + 4, y: EDGE.top - 4 }, `↑ ${text}`)];
    const y = this.y(value);
    const line = draw("line", { class: "limit", x1: x0, x2: x1, y1: y, y2: y });
    return [line, draw("text", { class: "limit", x: x0 + 4, y: y < EDGE.top + 14 ? y + 13 : y - 5 }, text)];
  }

  // Names and values at the ends of the lines, pushed apart where they would meet.
  ends(rows) {
    const { x1, range } = this.drawn;
    const places = rows.map((row) => {
      const step = row.lines[0].findLastIndex((value) => value !== null);
      return { row, y: this.y(row.lines[0][step]), gone: step < range.count - 2 };
    });
    places.sort((one, other) => one.y - other.y);
    let free = EDGE.top - 4;
    for (const place of places) free = (place.at = Math.max(place.y, free)) + LINE;
    let floor = HEIGHT - EDGE.bottom + 2;
    for (const place of places.toReversed()) floor = (place.at = Math.min(place.at, floor)) - LINE;
    return places.flatMap(({ row, y, at, gone }) => {
      const colour = `c${this.slots.get(row.name)}`;
      const value = draw("tspan", { class: "value", dx: 6 }, reading(this.panel.unit, latest(row.lines[0])));
      const name = draw("text", { class: `end ${colour}`, x: x1 + 10, y: at + 4 }, row.name, value);
      if (gone) return [name];
      return [draw("path", { class: `lead ${colour}`, d: `M${x1 + 1} ${y}L${x1 + 7} ${at}` }), name];
    });
  }

  // A table of all values; `pick` takes one out of a line.
  readings(pick) {
    const { rows, columns } = this.told;
    const body = rows.map((row) => {
      const swatch = make("i", { class: `swatch c${this.slots.get(row.name)}` });
      const cells = columns.map((_, column) => make("td", {}, reading(this.panel.unit, pick(row.lines[column]))));
      return make("tr", {}, make("th", { scope: "row" }, swatch, row.name), ...cells);
    });
    if (columns.length === 1) return make("table", {}, ...body);
    const head = columns.map((name, column) => {
      return make("th", { scope: "col", class: column < columns.length - 1 ? "thin" : "thick" }, name);
    });
    return make("table", {}, make("tr", {}, make("td"), ...head), ...body);
  }

  // Draws the cursor at a step, or takes it away; where this panel shows its tip, tells the values there.
  point(step) {
    this.at = step;
    if (!this.drawn) return;
    const { range, x0, x1 } = this.drawn;
    const at = Math.min(step ?? range.count - 1, range.count - 1);
    this.field.setAttribute("aria-valuenow", at);
    const x = this.x(at);
    for (const key of ["x1", "x2"]) this.cursor.setAttribute(key, x);
    this.cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
    const time = clock(range.start + at * range.step, true);
    const values = this.told.rows.flatMap(({ name, lines }) => {
      return this.told.columns.map((column, n) => `${name} ${column} ${reading(this.panel.unit, lines[n]?.[at])}`);
    });
    this.field.setAttribute("aria-valuetext", `${time}: ${values.join(", ")}`);
    if (this.tip.hidden) return;
    this.tip.replaceChildren(make("time", {}, time), this.readings((line) => line?.[at]));
    const left = x < (x0 + x1) / 2 ? x + 10 : x - 10 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(left, this.field.clientWidth - this.tip.offsetWidth))}px`;
  }
}
