// The network as a strip of layers: a listbox, each option a bar as high as its layer has moved.

import { h, replace, say } from "./dom.js";
import { GRADES, effect, grade, height, spoken } from "./effects.js";
import { figure } from "./format.js";

const FEW = 8; // layers whose names have room
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Builds the strip; `onSelect` is called with a layer's name. */
export function stripView({ strip, legend, note }, onSelect) {
  let names = [];
  let options = [];
  replace(legend, ...GRADES.map(([name, words]) =>
    h("li", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), words)));

  strip.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) onSelect(names[options.indexOf(option)]);
  });
  strip.addEventListener("keydown", (event) => {
    const at = options.indexOf(document.activeElement);
    const to = target(event.key, at, options.length);
    if (at < 0 || to === null) return;
    event.preventDefault();
    options[to].focus();
    onSelect(names[to]);
  });

  return {
    /** `layers` is the list of names in network order; `drift` may be missing, or have no scores. */
    show({ layers, drift, selected }) {
      if (layers.join("\n") !== names.join("\n")) {
        names = [...layers];
        options = names.map(option);
        strip.replaceChildren(...options);
        strip.classList.toggle("few", names.length <= FEW);
      }
      const scores = new Map((drift?.layers ?? []).map((layer) => [layer.name, layer]));
      const largest = Math.max(0, ...[...scores.values()].map(effect));
      strip.style.setProperty("--floor", String(height(1, largest)));
      strip.classList.toggle("scored", scores.size > 0);
      legend.hidden = !scores.size;
      const focusable = Math.max(0, names.indexOf(selected));
      options.forEach((element, index) => {
        paint(element, scores.get(names[index]), largest, { index, of: names.length });
        element.setAttribute("aria-selected", String(names[index] === selected));
        element.tabIndex = index === focusable ? 0 : -1;
      });
      say(note, names.length ? noteOf(scores.size, drift) : "This network has no normalization layer.");
    },
    /** Puts the focus on the chosen layer. */
    focus() {
      options.find((element) => element.tabIndex === 0)?.focus();
    },
  };
}

function noteOf(scored, drift) {
  if (scored) {
    return "From the input to the output; the higher, the further it has moved. The line is the floor: " +
      "the smallest effect that is called drift.";
  }
  const missing = drift ? "Nothing to compare yet; " : "";
  return `${missing}${missing ? "choose" : "Choose"} a layer to see what it was frozen with.`;
}

function option(name, index) {
  return h("div", { role: "option", class: "cell", title: name },
    h("span", { class: "column" }, h("span", { class: "bar" })),
    h("span", { class: "number", "aria-hidden": "true" },
      h("span", { class: "short" }, String(index + 1)), h("span", { class: "long" }, name)));
}

function paint(element, layer, largest, { index, of }) {
  const bar = element.querySelector(".bar");
  const name = layer ? grade(layer) : "unknown";
  const size = layer ? height(effect(layer), largest) : 0;
  bar.className = `bar ${name}`;
  bar.style.height = layer ? `${Math.max(3, 100 * size).toFixed(1)}%` : "";
  element.classList.toggle("alarm", Boolean(layer?.alarm));
  const figures = layer
    ? `${spoken(name)}, mean shift ${figure(layer.mean_shift)}, variance shift ${figure(layer.variance_shift)}`
    : "not compared";
  element.setAttribute("aria-label", `${element.title}, layer ${index + 1} of ${of}: ${figures}`);
}

function target(key, at, length) {
  if (key in STEPS) return Math.min(length - 1, Math.max(0, at + STEPS[key]));
  if (key === "Home") return 0;
  return key === "End" ? length - 1 : null;
}
