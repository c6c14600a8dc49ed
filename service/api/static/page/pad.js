// A place to draw: white on black, sent in the size of the network's input.

import { h } from "./dom.js";

const SIZE = 280; // of the canvas; the style sheet may show it larger or smaller
const PEN = 0.072; // of its size: two pixels of 28

/** A canvas; `onChange` is called while something is drawn. */
export function drawingPad(onChange) {
  const canvas = h("canvas", {
    class: "pad", width: SIZE, height: SIZE, role: "img",
    "aria-label": "Drawing pad for mouse, pen or finger. With a keyboard, choose a picture instead.",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let from = null;
  let empty = true;
  clear();

  function clear() {
    empty = true;
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIZE, SIZE);
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  };

  function line(to) {
    context.strokeStyle = "#fff";
    context.lineWidth = PEN * SIZE;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    from = to;
    empty = false;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    from = at(event);
    line(from);
    onChange();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) line(at(each));
    onChange();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, () => {
      if (from) onChange();
      from = null;
    });
  }

  return {
    canvas,
    clear,
    isEmpty: () => empty,
    /** What is drawn, as a PNG of width × height. */
    picture(width, height) {
      const small = h("canvas", { width, height });
      const to = small.getContext("2d");
      to.imageSmoothingQuality = "high";
      to.drawImage(canvas, 0, 0, width, height);
      return new Promise((resolve) => small.toBlob(resolve, "image/png"));
    },
  };
}
