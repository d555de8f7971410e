// Asks Prometheus every few seconds, draws the panels, and says which alerts and targets need somebody.

import { make, Plot } from "./plot.js";
import { clock, lasting } from "./units.js";

const RANGES = {
  "15m": { seconds: 900, step: 5, window: 60 },
  "1h": { seconds: 3600, step: 20, window: 120 },
  "6h": { seconds: 21600, step: 90, window: 360 },
};
const WINDOW = "$__rate_interval";
const $ = (id) => document.getElementById(id);

class Unreachable extends Error {}

async function ask(path, parameters = {}) {
  let answer;
  try {
    answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal: AbortSignal.timeout(30000) });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Unreachable(late ? "Prometheus takes longer than 30 s" : "this page's server does not answer: is anonfaces local watch running?");
  }
  const told = await answer.json();
  if (answer.status === 502) throw new Unreachable(told.error);
  if (told.status === "error") throw new Error(told.error);
  return told.data ?? told;
}

async function begin() {
  const { every, dashboards } = await ask("panels.json");
  const plots = [];
  for (const [name, panels] of Object.entries(dashboards)) {
    $("sections").append(make("a", { href: `#${name}` }, name));
    const grid = make("div", { class: "grid" });
    panels.forEach((panel, number) => {
      const plot = new Plot(panel, `${name}-${number}`, (step) => plots.forEach((one) => one.point(step)));
      plots.push(plot);
      grid.append(plot.element);
    });
    $("boards").append(make("section", { id: name, "aria-label": name }, make("h2", {}, name), grid));
  }
  new Watch(plots, every).begin();
}

class Watch {
  constructor(plots, scraped) {
    this.plots = plots;
    this.scraped = scraped; // seconds from one scrape to the next
    this.turn = 0;
  }

  begin() {
    $("controls").addEventListener("change", () => this.refresh());
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("visibilitychange", () => !document.hidden && $("live").checked && this.refresh());
    this.refresh();
  }

  // Draws everything anew, and comes back later; a newer turn overtakes an older one.
  async refresh() {
    const turn = ++this.turn;
    clearTimeout(this.timer);
    const range = RANGES[new FormData($("controls")).get("range")];
    const end = Math.floor(Date.now() / 1000 / range.step) * range.step;
    const about = { start: end - range.seconds, end, step: range.step, count: range.seconds / range.step + 1 };
    const current = () => turn === this.turn;
    try {
      const asked = [this.state(current), ...this.plots.map((plot) => this.plot(plot, about, range.window, current))];
      await Promise.all(asked);
      if (current()) this.reached();
    } catch (error) {
      if (current()) this.lost(error);
    }
    if (current() && $("live").checked) {
      const rest = Math.max(range.step, 2 * this.scraped); // there is nothing new before
      this.timer = setTimeout(() => (document.hidden ? null : this.refresh()), 1000 * rest);
    }
  }

  async plot(plot, { count, ...range }, window, current) {
    const span = `${Math.max(window, Math.ceil(4 * this.scraped))}s`;
    try {
      const answers = await Promise.all(
        plot.panel.queries.map((query) => ask("api/v1/query_range", { ...range, query: query.ask.replaceAll(WINDOW, span) })),
      );
      if (current()) plot.answer(answers.map((answer) => answer.result), { ...range, count });
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      if (current()) plot.fail(error.message);
    }
  }

  async state(current) {
    const [{ groups }, { activeTargets }] = await Promise.all([
      ask("api/v1/rules", { type: "alert" }),
      ask("api/v1/targets", { state: "active" }),
    ]);
    if (!current()) return;
    $("targets").replaceChildren(...activeTargets.map(target));
    $("alerts").replaceChildren(...alerts(groups.flatMap((group) => group.rules)));
  }

  reached() {
    $("trouble").hidden = true;
    $("clock").textContent = `as of ${clock(Date.now() / 1000, true)}`;
    document.body.dataset.state = "fresh";
    document.body.dataset.turn = this.turn;
  }

  // What is drawn stays, marked as old.
  lost(error) {
    const old = document.body.dataset.turn ? " What is shown is old." : "";
    if (!old) $("alerts").replaceChildren();
    $("trouble").textContent = `${error.message}.${old}`;
    $("trouble").hidden = false;
    document.body.dataset.state = "stale";
  }
}

function target({ labels, health, lastError, scrapeUrl }) {
  const words = { up: "up", down: `down: ${lastError}`, unknown: "not asked yet" }[health];
  return make("li", { "data-health": health, title: scrapeUrl }, make("b", {}, labels.job), ` ${words}`);
}

// Those that fire first, pages before tickets.
function alerts(rules) {
  const order = (rule) => (rule.state === "firing" ? 0 : 2) + (rule.labels.severity === "page" ? 0 : 1);
  const active = rules.filter((rule) => rule.state !== "inactive").sort((one, other) => order(one) - order(other));
  const broken = rules.filter((rule) => rule.health === "err").map((rule) => {
    return make("li", { "data-state": "firing" }, make("b", {}, rule.name), ` cannot be told: ${rule.lastError}`);
  });
  if (active.length + broken.length) return [...broken, ...active.map(alert)];
  return [make("li", { "data-state": "inactive" }, `${rules.length} alerts watch, none fires`)];
}

function alert(rule) {
  const since = Math.min(...rule.alerts.map((one) => Date.parse(one.activeAt) / 1000));
  const what = rule.state === "firing" ? `${rule.labels.severity}, firing` : `${rule.labels.severity}, pending`;
  const entry = rule.annotations.runbook.split("#")[1];
  const parts = [
    make("span", { class: "badge" }, what),
    make("b", {}, rule.name + (rule.alerts.length > 1 ? ` ×${rule.alerts.length}` : "")),
    make("span", { class: "since" }, `for ${lasting(Date.now() / 1000 - since)}`),
    make("span", {}, rule.annotations.summary + concerned(rule.alerts)),
    make("a", { href: `runbook#${entry}` }, "runbook"),
  ];
  return make("li", { "data-state": rule.state, "data-severity": rule.labels.severity }, ...parts);
}

// What tells the alerts of one rule apart: a model, a cause.
function concerned(alerts) {
  const told = alerts.map(({ labels }) => {
    const own = Object.entries(labels).filter(([name]) => !["alertname", "severity", "namespace"].includes(name));
    return own.map(([name, value]) => `${name} ${value}`).join(", ");
  });
  return told[0] ? ` (${told.slice(0, 3).join("; ")}${told.length > 3 ? "; …" : ""})` : "";
}

begin().catch((error) => {
  $("trouble").textContent = error.message;
  $("trouble").hidden = false;
  $("alerts").replaceChildren();
});
