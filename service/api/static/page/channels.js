// The channels of a layer as a table that has elements only for the rows in sight.

import { h, say, svg } from "./dom.js";
import { cell, figure } from "./format.js";

const ROW = 32; // pixels; the style sheet has the same
const IN_SIGHT = 10;
const BEYOND = 6; // rows above and below those in sight
const COLUMNS = ["Channel", "Mean ± σ", "Mean", "σ", "γ", "β", "Contribution"];
const OF = [2, 3]; // those that say of what they are

const SORTS = {
  contribution: (one) => one.contribution ?? 0,
  mean: (one) => (one.liveMean === null ? 0 : Math.abs(one.liveMean - one.mean) / (one.std || 1)),
  channel: (one) => -one.channel,
};

/** A table in `place`: `show(channels, of)` fills it, `order(name)` sorts it; `of` says of what
 * mean and σ are. */
export function channelList(place) {
  let channels = [];
  let sorted = [];
  let scale = null;
  let by = "contribution";
  const head = h("div", { role: "rowgroup" }, h("div", { role: "row", class: "row head" },
    ...COLUMNS.map((name, index) => h("span", { role: "columnheader", class: `c${index}` },
      name, OF.includes(index) ? h("span", { class: "of" }) : null))));
  const space = h("div", { class: "space", role: "presentation" });
  const body = h("div", { role: "rowgroup", class: "rows", tabindex: "0", "aria-label": "Rows" }, space);
  const table = h("div", {
    role: "table", class: "channels", "aria-labelledby": "channels-title",
  }, head, body);
  place.append(table);
  let asked = false;
  const later = () => {
    if (!asked) requestAnimationFrame(() => { asked = false; draw(); });
    asked = true;
  };
  body.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(later).observe(body);

  function sort() {
    const value = SORTS[by];
    sorted = [...channels].sort((a, b) => value(b) - value(a) || a.channel - b.channel);
    space.style.height = `${sorted.length * ROW}px`;
    body.style.height = `${Math.min(sorted.length, IN_SIGHT) * ROW + 2}px`; // and its borders
    table.setAttribute("aria-rowcount", String(sorted.length + 1));
    draw();
  }

  function draw() {
    const first = Math.max(0, Math.floor(body.scrollTop / ROW) - BEYOND);
    const last = Math.min(sorted.length, Math.ceil((body.scrollTop + body.clientHeight) / ROW) + BEYOND);
    space.replaceChildren(...sorted.slice(first, last).map((one, index) =>
      row(one, first + index, scale)));
  }

  return {
    show(fresh, of) {
      for (const words of head.querySelectorAll(".of")) say(words, ` ${of}`);
      const other = fresh.length !== channels.length;
      channels = fresh;
      scale = scaleOf(fresh);
      if (other) body.scrollTop = 0;
      sort();
    },
    order(name) {
      by = name;
      body.scrollTop = 0;
      sort();
    },
  };
}

function row(one, index, scale) {
  const live = one.liveMean !== null;
  const pair = (now, before) => [
    live ? h("span", { class: "now" }, cell(now)) : null, " ",
    h("span", { class: live ? "before" : "now" }, cell(before)),
  ];
  const cells = [
    [String(one.channel), one.dead ? h("span", { class: "dead" }, "dead") : null],
    [plot(one, scale)],
    pair(one.liveMean, one.mean),
    pair(one.liveStd, one.std),
    [cell(one.scale)],
    [cell(one.bias)],
    [share(one.contribution, scale.contribution), cell(one.contribution)],
  ];
  const element = h("div", {
    role: "row", class: `row${index % 2 ? " odd" : ""}`, "aria-rowindex": String(index + 2),
  }, ...cells.map((content, at) => h("span", { role: "cell", class: `c${at}` }, ...content)));
  element.style.transform = `translateY(${index * ROW}px)`;
  return element;
}

/** Baseline and live interval, mean ± σ, on one scale for the whole layer. */
function plot(one, { low, high }) {
  const x = (value) => (100 * Math.min(1, Math.max(0, (value - low) / (high - low || 1)))).toFixed(2);
  const band = (mean, std, name, y, thick) => svg("rect", {
    class: name, x: x(mean - std), y, height: thick,
    width: Math.max(0.4, x(mean + std) - x(mean - std)).toFixed(2), rx: 0.5,
  });
  const point = (mean, name, y, tall) => svg("rect", {
    class: name, x: (x(mean) - 0.4).toFixed(2), y, width: 0.8, height: tall,
  });
  const live = one.liveMean !== null;
  const words = live
    ? `baseline ${figure(one.mean)} ± ${figure(one.std)}, live ${figure(one.liveMean)} ± ${figure(one.liveStd)}`
    : `${figure(one.mean)} ± ${figure(one.std)}`;
  return svg("svg", {
    class: "plot", viewBox: "0 0 100 20", preserveAspectRatio: "none", role: "img", "aria-label": words,
  },
  band(one.mean, one.std, "base", 2, live ? 8 : 16), point(one.mean, "base-mean", 2, live ? 8 : 16),
  ...(live ? [band(one.liveMean, one.liveStd, "live", 12, 6), point(one.liveMean, "live-mean", 10, 10)] : []));
}

function share(value, largest) {
  if (value === null) return null;
  const bar = h("span", { class: "part", "aria-hidden": "true" });
  bar.style.width = `${largest > 0 ? (36 * value) / largest : 0}px`;
  return bar;
}

/** Of the middle 98 % of the intervals' ends, so that one wild channel does not flatten the rest. */
function scaleOf(channels) {
  const ends = [];
  for (const one of channels) {
    ends.push(one.mean - one.std, one.mean + one.std);
    if (one.liveMean !== null) ends.push(one.liveMean - one.liveStd, one.liveMean + one.liveStd);
  }
  const finite = ends.filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share) => finite[Math.round(share * (finite.length - 1))] ?? 0;
  const [low, high] = finite.length > 400 ? [at(0.01), at(0.99)] : [at(0), at(1)];
  const contribution = channels.reduce((most, one) => Math.max(most, one.contribution ?? 0), 0);
  return { low, high, contribution };
}

