// What the bundle promises, as checked when it was built and on this machine.

import { h, replace } from "./dom.js";
import { figure, sentence } from "./format.js";

const NAMES = [
  ["frozen", "Frozen", "An answer depends on its input alone."],
  ["batch_invariant", "Batch-invariant", "The same bits alone and in any batch."],
  ["parity", "Parity", "Folded equals unfolded, in float64."],
];

/** Builds the section once. */
export function promisesView(section) {
  const list = h("ul", { class: "promises" });
  const more = h("div", {});
  section.append(h("h3", { id: "promises-title" }, "Promises, checked"), list, more);
  return {
    show(report) {
      section.hidden = !report;
      if (!report) return;
      const { built, here } = report.checks;
      replace(list, ...NAMES.map(([key, name, words]) => promise(name, words, built[key], here[key])));
      replace(more,
        report.row_by_row ? h("p", { class: "note" }, "Each row is run alone on this machine.") : null,
        ...report.forced.map((text) => h("p", { class: "forced" }, `Overridden: ${text}`)));
    },
  };
}

function promise(name, words, built, here) {
  const kept = built.passed && (here?.passed ?? true);
  return h("li", { class: kept ? "kept" : "broken" },
    h("span", { class: "mark", "aria-hidden": "true" }, kept ? "✓" : "✗"),
    h("div", {},
      h("p", {}, h("strong", {}, name), ` ${kept ? "" : "does not hold. "}${words}`),
      h("p", { class: "note" }, checked("Built", built)),
      here ? h("p", { class: "note" }, checked("Here", here)) : null));
}

function checked(when, check) {
  const figures = `${figure(check.figure)} (limit ${figure(check.limit)})`;
  return `${when}: ${check.passed ? "" : "failed, "}${figures}. ${sentence(check.detail)}`;
}
