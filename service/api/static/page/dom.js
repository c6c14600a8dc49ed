// Elements, made by hand: text never becomes HTML, so that no name can bring markup along.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `hidden`, `aria-…`; functions are listeners) and children. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Replaces what is in an element, and leaves it alone where nothing would change. */
export function replace(element, ...children) {
  const fresh = document.createDocumentFragment();
  fresh.append(...children.flat().filter((child) => child !== null && child !== undefined));
  const holder = document.createElement("div");
  holder.append(fresh);
  if (element.innerHTML !== holder.innerHTML) element.replaceChildren(...holder.childNodes);
}

/** Sets text without touching the page where it is the same: live regions speak only of changes. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** As wide a column as the longest of these names needs, within bounds. */
export const nameWidth = (names) =>
  `${Math.min(13, Math.max(...names.map((name) => name.length), 1)) + 1}ch`;

/** A value of the style sheet, for what is painted on a canvas. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A canvas as large as its place, in device pixels; its context is in CSS pixels. */
export function paintable(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
