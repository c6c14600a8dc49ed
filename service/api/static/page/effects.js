// How far a layer has moved, in words and in shape: one scale for the strip, the history, the legend.

/** The larger effect of a layer, in units of the smallest that is called drift. */
export const effect = (layer) =>
  Math.max(layer.mean_shift / layer.mean_floor, layer.variance_shift / layer.variance_floor);

const significant = (layer) =>
  layer.mean_significance > 1 || layer.variance_significance > 1;

/** The grade of a layer: how it is painted, and what is said of it. */
export function grade(layer) {
  if (layer.alarm) return graded(effect(layer));
  return significant(layer) ? "watch" : "still";
}

/** The grade of an effect that is drift. */
export function graded(size) {
  if (size < 2) return "drift-1";
  return size < 5 ? "drift-2" : "drift-3";
}

/** The grades in words, the least first. */
export const GRADES = [
  ["still", "no more than chance"],
  ["watch", "watch: beyond chance, below the floor"],
  ["drift-1", "drift: 1 to 2 floors"],
  ["drift-2", "2 to 5"],
  ["drift-3", "more"],
];

/** What is said of a grade to those who do not see it. */
export const spoken = (name) =>
  ({ still: "not moved", watch: "watch" })[name] ?? "drift";

/** Height of a bar from 0 to 1: doublings, up to the largest, and room for three at the least. */
export function height(size, largest) {
  return Math.log2(1 + Math.max(0, size)) / Math.log2(1 + Math.max(largest, 7));
}

/** A pattern beside the colour: ▲ drift, ◐ watch, ● still, ○ not known. */
export const MARKS = { drift: "▲", watch: "◐", ok: "●", insufficient: "○" };
