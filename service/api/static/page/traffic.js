// Requests, latency and batch sizes, from counters that only grow: what happened between two looks.

import { h, replace, say, svg } from "./dom.js";
import { count, figure, latency, requests } from "./format.js";

const KEPT = 90; // looks
const PEACE_S = 30; // over which the figures are taken

/** Builds the section once. */
export function trafficView(section) {
  const note = h("p", { class: "note" });
  const figures = h("div", { class: "figures" });
  const sizes = h("div", { class: "sizes" });
  section.append(h("h3", { id: "traffic-title" }, "Traffic"), note, figures, sizes);
  let looks = [];
  let of = "";

  return {
    /** `stats` is one entry of the statistics extension; `key` says of what. */
    show(key, stats, now) {
      const look = stats && read(stats, now);
      if (key !== of || (look && looks.length && look.requests < looks.at(-1).requests)) looks = [];
      of = key;
      if (!look) return;
      looks = [...looks, look].slice(-KEPT);
      const served = look.requests > 0;
      figures.hidden = sizes.hidden = !served;
      const failed = look.failures ? `, ${count(look.failures)} failed` : "";
      say(note, served ? `${requests(look.requests)} answered since it was loaded${failed}.`
        : `No request has been answered since it was loaded${failed}.`);
      if (!served) return;
      replace(figures, ...figuresOf(looks));
      replace(sizes, h("h4", {}, "Rows of a run"), ...sizesOf(stats.batch_stats));
    },
  };
}

function read(stats, now) {
  const { success, fail, queue, compute_infer: compute } = stats.inference_stats;
  return {
    now, requests: success.count, failures: fail.count,
    ns: success.ns, queue: queue.ns, compute: compute.ns,
    rows: stats.inference_count, runs: stats.execution_count,
    bounds: stats.latency_histogram.bounds_ns, counts: stats.latency_histogram.counts,
  };
}

function figuresOf(looks) {
  const now = looks.at(-1);
  const since = looks.find((look) => now.now - look.now <= PEACE_S) ?? now;
  const steps = looks.slice(1).map((look, index) => [looks[index], look]);
  const per = (from, to, what, by) => (to[by] > from[by] ? (to[what] - from[what]) / (to[by] - from[by]) : null);
  const rate = per(since, now, "requests", "now");
  const whole = per(since, now, "ns", "requests") ?? now.ns / now.requests;
  const queue = per(since, now, "queue", "requests") ?? now.queue / now.requests;
  const rows = per(since, now, "rows", "runs") ?? now.rows / now.runs;
  const idle = rate ? "" : ", earlier";
  return [
    figureOf("Requests", rate === null ? "…" : `${figure(rate)} /s`, null,
      steps.map(([from, to]) => per(from, to, "requests", "now"))),
    figureOf("Latency", latency(whole / 1e6), `mean${idle}; of it waiting ${latency(queue / 1e6)}`,
      steps.map(([from, to]) => per(from, to, "ns", "requests")), percentilesOf(since, now)),
    figureOf("Rows a run", figure(rows), `mean${idle}`,
      steps.map(([from, to]) => per(from, to, "rows", "runs"))),
  ];
}

const PERCENTILES = [50, 95, 99];

/** Of the time between two looks; where nothing was answered in it, since the version was loaded. */
function percentilesOf(since, now) {
  const busy = now.requests > since.requests;
  const counts = now.counts.map((value, index) => value - (busy ? since.counts[index] : 0));
  return h("dl", { class: "percentiles" }, ...PERCENTILES.map((percent) => h("div", {},
    h("dt", {}, `p${percent}`),
    h("dd", {}, latency(quantile(counts, now.bounds, percent / 100) / 1e6)))));
}

/** From a histogram, evenly spread within each class; the last bound for what lies above all. */
export function quantile(counts, bounds, q) {
  let wanted = q * counts.reduce((sum, one) => sum + one, 0);
  for (const [index, bound] of bounds.entries()) {
    const least = index ? bounds[index - 1] : 0;
    if (counts[index] && counts[index] >= wanted) return least + ((bound - least) * wanted) / counts[index];
    wanted -= counts[index];
  }
  return bounds.at(-1);
}

function figureOf(name, value, note, series, more = null) {
  return h("div", { class: "figure" },
    h("p", { class: "name" }, name),
    h("p", { class: "value" }, value),
    spark(series),
    note ? h("p", { class: "note" }, note) : null,
    more);
}

/** A line from the oldest look to the newest; where there was nothing to measure, a gap. */
function spark(series) {
  const largest = Math.max(...series.map((value) => value ?? 0), 1e-12);
  const x = (index) => (100 * (KEPT - series.length + index)) / (KEPT - 1);
  let path = "";
  let open = false;
  series.forEach((value, index) => {
    if (value !== null) path += `${open ? "L" : "M"}${x(index).toFixed(1)} ${(22 - (20 * value) / largest).toFixed(1)}`;
    open = value !== null;
  });
  return svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "ground", d: "M0 22H100" }), svg("path", { class: "line", d: path }));
}

function sizesOf(batches) {
  const total = batches.reduce((sum, one) => sum + one.compute_infer.count, 0);
  return batches.map((one) => {
    const bar = h("span", { class: "bar" });
    const part = total ? one.compute_infer.count / total : 0;
    bar.style.width = `${100 * part}%`;
    return h("div", { class: "class" },
      h("span", { class: "name" }, String(one.batch_size)),
      h("span", { class: "track", "aria-hidden": "true" }, bar),
      h("span", { class: "value" }, count(one.compute_infer.count),
        h("span", { class: "unseen" }, " runs")));
  });
}
