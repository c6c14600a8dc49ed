// Drift over time: the layers from top to bottom, the windows from left to right.

import { colour, h, paintable, replace, say } from "./dom.js";
import { MARKS, effect, graded } from "./effects.js";
import { count, duration, figure, images, timeOfDay, timeWithSeconds } from "./format.js";

const HEAD = 18; // pixels: the verdicts
const FOOT = 18; // the times
const MOST_HEIGHT = 240;

/** Builds the section once. */
export function historyView(section) {
  const note = h("p", { class: "note" });
  const canvas = h("canvas", { class: "history", role: "img" });
  const pointed = h("p", { class: "pointed", "aria-hidden": "true" });
  const rows = h("tbody", {});
  const table = h("details", {}, h("summary", {}, "As a table"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Drift over time, as a table" },
      h("table", {},
        h("thead", {}, h("tr", {}, ...["Window", "Images", "Verdict", "Moved most", "d", "r"].map((name) =>
          h("th", { scope: "col" }, name)))),
        rows)));
  section.append(h("h3", { id: "time-title" }, "Drift over time"), note, canvas, pointed, table);
  let shown = null;
  const paintAgain = () => shown && paint(canvas, shown);
  new ResizeObserver(paintAgain).observe(section);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintAgain);
  canvas.addEventListener("pointermove", (event) => say(pointed, shown ? at(canvas, shown, event) : ""));
  canvas.addEventListener("pointerleave", () => say(pointed, ""));

  return {
    show(history, selected) {
      section.hidden = !history;
      if (!history) return;
      const { windows } = history;
      canvas.hidden = table.hidden = pointed.hidden = !windows.length;
      say(note, noteOf(history));
      shown = windows.length ? layout(history, selected) : null;
      if (!shown) return;
      canvas.setAttribute("aria-label", spoken(windows));
      paintAgain();
      replace(rows, ...[...windows].reverse().slice(0, 100).map((one) => tableRow(one, history)));
    },
  };
}

function noteOf({ windows, steps, step_s: step }) {
  const kept = `Windows of ${duration(step)}, the last ${count(steps)} are kept (${duration(step * steps)}).`;
  return windows.length ? `${kept} Each is judged by itself.` : `Nothing has been compared yet. ${kept}`;
}

/** Of a long ring only what is used: from the oldest window on, 12 places at the least. */
function layout(history, selected) {
  const { step_s: step, windows, layers } = history;
  const last = Math.max(Math.floor(Date.now() / 1000 / step) * step, windows.at(-1).started);
  const first = Math.min(windows[0].started, last - (Math.min(history.steps, 12) - 1) * step);
  const places = Math.round((last - first) / step) + 1;
  return { history, first, places, selected: layers.findIndex((layer) => layer.name === selected) };
}

const effectAt = (one, layers, index) => effect({
  mean_shift: one.mean_shift[index], mean_floor: layers[index].mean_floor,
  variance_shift: one.variance_shift[index], variance_floor: layers[index].variance_floor,
});

function paint(canvas, shown) {
  const { history: { layers, windows, step_s: step }, first, places, selected } = shown;
  const width = canvas.parentElement.clientWidth;
  const tall = Math.max(2, Math.min(20, Math.floor(MOST_HEIGHT / layers.length)));
  const context = paintable(canvas, width, HEAD + tall * layers.length + FOOT);
  const wide = width / places;
  const gap = tall > 6 ? 1.5 : 0;
  Object.assign(shown, { tall, wide });
  const colours = Object.fromEntries(["still", "drift-1", "drift-2", "drift-3", "faint"].map((name) =>
    [name, colour(name)]));
  context.fillStyle = colours.faint;
  context.fillRect(0, HEAD, width, tall * layers.length);
  context.textAlign = "center";
  context.font = `12px ${colour("sans")}`;
  for (const one of windows) {
    const x = Math.round((one.started - first) / step) * wide;
    one.mean_shift.forEach((_, index) => {
      context.fillStyle = colours[one.alarm[index] ? graded(effectAt(one, layers, index)) : "still"];
      context.fillRect(x + gap / 2, HEAD + index * tall + gap / 2, Math.max(1, wide - gap), tall - gap);
    });
    if (wide > 12) {
      context.fillStyle = colour(`${one.verdict}-ink`);
      context.fillText(MARKS[one.verdict], x + wide / 2, HEAD - 5);
    }
  }
  if (selected >= 0) {
    context.strokeStyle = colour("ink");
    context.lineWidth = 1.5;
    context.strokeRect(0.75, HEAD + selected * tall - 0.25, width - 1.5, tall + 0.5);
  }
  times(context, shown, width, HEAD + tall * layers.length + 14);
}

/** Windows of less than a minute are told apart by their seconds. */
const timeOf = (epoch, step) => (step < 60 ? timeWithSeconds : timeOfDay)(epoch);

function times(context, { history, first, places, wide }, width, y) {
  context.fillStyle = colour("muted");
  const every = Math.ceil(80 / wide);
  for (let place = 0; place < places; place += every) {
    context.textAlign = place === 0 ? "left" : "center";
    const x = place === 0 ? 0 : (place + 0.5) * wide;
    if (x + 20 < width) context.fillText(timeOf(first + place * history.step_s, history.step_s), x, y);
  }
}

function at(canvas, { history, first, tall, wide }, event) {
  const place = Math.floor(event.offsetX / wide);
  const started = first + place * history.step_s;
  const one = history.windows.find((each) => Math.abs(each.started - started) < history.step_s / 2);
  const index = Math.floor((event.offsetY - HEAD) / tall);
  const when = `${timeOf(started, history.step_s)}–${timeOf(started + history.step_s, history.step_s)}`;
  if (!one) return `${when}: nothing was compared`;
  const layer = history.layers[index];
  if (!layer || !one.mean_shift.length) return `${when}: ${one.verdict}, ${images(one.n)}`;
  return `${when}: ${layer.name}, d ${figure(one.mean_shift[index])}, r ${figure(one.variance_shift[index])}, ${images(one.n)}`;
}

function spoken(windows) {
  const last = windows.at(-1);
  return `Drift of every layer in ${windows.length} windows; the last, from ${timeOfDay(last.started)}: ` +
    `${last.verdict}, ${images(last.n)}. The same as a table below.`;
}

function tableRow(one, { layers, step_s: step }) {
  const sizes = one.mean_shift.map((_, index) => effectAt(one, layers, index));
  const most = sizes.indexOf(Math.max(...sizes));
  const [name, d, r] = most < 0 ? ["–", null, null]
    : [layers[most].name, one.mean_shift[most], one.variance_shift[most]];
  return h("tr", {},
    h("th", { scope: "row" }, `${timeOf(one.started, step)}–${timeOf(one.started + step, step)}`),
    ...[count(one.n), one.verdict, name, figure(d), figure(r)].map((text) => h("td", {}, text)));
}
