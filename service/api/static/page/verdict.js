// The verdict on a model's traffic, what it rests on, and the choice of the window.

import { h, nameWidth, replace, say } from "./dom.js";
import { MARKS } from "./effects.js";
import { count, duration, images, percent, sentence } from "./format.js";

const WORDS = {
  ok: "No drift",
  watch: "Watch",
  drift: "Drift",
  insufficient: "Not enough traffic yet",
};

/** Builds the section once; `onWindow` is called with seconds, or null for all that is kept. */
export function verdictView(section, onWindow) {
  const title = h("h2", { id: "model-title" });
  const mark = h("span", { class: "mark", "aria-hidden": "true" });
  const word = h("strong", {});
  const words = h("p", { class: "diagnosis" });
  const live = h("div", { class: "said", "aria-live": "polite" },
    h("p", { class: "word" }, mark, word), words);
  const cause = h("p", { class: "cause" });
  const facts = h("dl", { class: "facts" });
  const choice = h("select", {
    id: "window", change: () => onWindow(choice.value ? Number(choice.value) : null),
  });
  const choose = h("p", { class: "choose" },
    h("label", { for: "window" }, "Window"), choice);
  section.append(h("div", { class: "line" }, title, choose), live, cause, facts);

  return {
    /** `drift` is the answer, or {problem}; null while it is not known. */
    show({ model, drift, problem, history, window }) {
      say(title, `${model.name} · version ${model.version}`);
      choose.hidden = !history;
      if (history) offer(choice, history, window);
      section.dataset.verdict = drift?.verdict ?? "none";
      if (!drift) {
        say(mark, MARKS.insufficient);
        say(word, problem ? "Not watched" : "…");
        document.title = `${model.name} · foldserve`;
        say(words, problem ? sentence(problem) : "");
        cause.hidden = true;
        replace(facts);
        return;
      }
      say(mark, MARKS[drift.verdict]);
      say(word, WORDS[drift.verdict]);
      document.title = `${MARKS[drift.verdict]} ${WORDS[drift.verdict]} · ${model.name} · foldserve`;
      say(words, diagnosis(drift));
      replace(cause, drift.likely_cause
        ? [h("strong", {}, "Likely cause: "), sentence(drift.likely_cause).replace(/^./, (c) => c.toLowerCase())]
        : null);
      cause.hidden = !drift.likely_cause;
      replace(facts, ...factsOf(drift).flatMap(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    },
  };
}

function diagnosis(drift) {
  if (drift.verdict !== "insufficient") return sentence(drift.diagnosis);
  return `${drift.n} of the ${drift.n_needed} images that a verdict needs have been sampled. ` +
    "It comes by itself when there is more traffic.";
}

function factsOf(drift) {
  const facts = [
    ["Compared", drift.n ? `${images(drift.n)} in ${duration(drift.window_s)}` : "none yet"],
    ["Baseline", drift.baseline.kind === "measured"
      ? `measured on ${images(drift.baseline.images)}`
      : "analytic: from the layers' own parameters"],
  ];
  if (drift.n) {
    const outliers = drift.outliers;
    facts.push(["Unlike the baseline",
      `${percent(outliers.share)} of the images (${percent(outliers.baseline_share)} expected)` +
      (outliers.alarm ? ": too many" : "")]);
  }
  if (drift.dropped) facts.push(["Not compared, for lack of time", images(drift.dropped)]);
  if (drift.nonfinite) {
    facts.push(["Not finite", `${images(drift.nonfinite)}, first in ${drift.first_nonfinite}`]);
  }
  return facts;
}

function offer(choice, history, chosen) {
  const { step_s: step, steps } = history;
  const offered = [1, 3, 6].filter((n) => n < steps);
  const wanted = [
    ["", `all that is kept (${duration(step * steps)})`],
    ...offered.map((n) => [String(n * step), `the last ${duration(n * step)}`]),
  ];
  if (choice.options.length !== wanted.length || choice.options[0].text !== wanted[0][1]) {
    choice.replaceChildren(...wanted.map(([value, text]) => h("option", { value }, text)));
  }
  choice.value = chosen === null ? "" : String(chosen);
}

/** Predicted classes, live beside the baseline's, where the network classifies. */
export function classesView(section) {
  const rows = h("div", { class: "classes" });
  const note = h("p", { class: "note" });
  section.append(h("h3", { id: "classes-title" }, "Predicted classes"), note, rows);
  return {
    show(drift, labels) {
      const classes = drift?.classes;
      const total = classes ? sum(classes.live) : 0;
      section.hidden = !total;
      if (!total) return;
      const before = sum(classes.baseline);
      const all = classes.live.map((n, index) => ({
        name: labels?.[index] ?? String(index),
        live: n / total,
        baseline: before ? classes.baseline[index] / before : 0,
      }));
      const listed = all.length <= MOST_CLASSES ? all
        : all.sort((a, b) => apart(b) - apart(a)).slice(0, MOST_CLASSES);
      say(note, (listed.length < all.length
        ? `The ${MOST_CLASSES} of ${count(all.length)} that differ most. ` : "") +
        "Bar: traffic. Line: baseline. Drift is not harm: another mix of classes moves layers, too.");
      const largest = Math.max(...listed.flatMap((one) => [one.live, one.baseline]), 1e-9);
      rows.style.setProperty("--name", nameWidth(listed.map((one) => one.name)));
      replace(rows, ...listed.map((one) => classRow(one, largest)));
    },
  };
}

const MOST_CLASSES = 12;
const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);
const apart = (one) => Math.abs(one.live - one.baseline);

function classRow(one, largest) {
  const bar = h("span", { class: "bar" });
  bar.style.width = `${(100 * one.live) / largest}%`;
  const line = h("span", { class: "tick" });
  line.style.left = `${(100 * one.baseline) / largest}%`;
  return h("div", { class: "class" },
    h("span", { class: "name", title: one.name }, one.name),
    h("span", { class: "track", "aria-hidden": "true" }, bar, line),
    h("span", { class: "value" }, percent(one.live),
      h("span", { class: "unseen" }, ` (baseline ${percent(one.baseline)})`)));
}
