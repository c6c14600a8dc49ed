// One layer: where it went, what it was frozen with, and all its channels.

import { h, replace, say } from "./dom.js";
import { channelList } from "./channels.js";
import { count, figure, images } from "./format.js";

const FROM = {
  population: "statistics of the population (Algorithm 2)",
  "moving average": "statistics of the moving average",
  model: "statistics as the network's file had them",
};
const ORDERS = [
  ["contribution", "contribution to the drift"],
  ["mean", "shift of the mean"],
  ["channel", "number"],
];

/** Builds the section once. */
export function layerView(section) {
  const title = h("h3", { id: "layer-title" });
  const went = h("p", { class: "went" });
  const facts = h("dl", { class: "facts" });
  const findings = h("ul", { class: "findings" });
  const order = h("select", { id: "order", change: () => list.order(order.value) },
    ...ORDERS.map(([value, text]) => h("option", { value }, text)));
  const note = h("p", { class: "note" });
  const place = h("div", {});
  const list = channelList(place);
  section.append(title, went, facts, findings,
    h("div", { class: "line" },
      h("h4", { id: "channels-title" }, "Channels"),
      h("p", { class: "choose" }, h("label", { for: "order" }, "Sorted by"), order)),
    note, place);

  return {
    /** `words` is the layer of /normalization/{layer}; `drift` that of /drift/layers, or missing. */
    show({ words, drift }) {
      section.hidden = !words;
      if (!words) return;
      say(title, words.name);
      replace(went, ...wentTo(words));
      replace(facts, ...factsOf(words, drift?.scores).map(([name, value, more]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value, more ? h("span", { class: "note" }, ` ${more}`) : null))));
      replace(findings, ...words.findings.map((text) => h("li", {}, text)));
      findings.hidden = !words.findings.length;
      say(note, noteOf(words, drift));
      order.parentElement.hidden = !drift?.channels.contribution;
      const before = words.baseline ? "baseline" : "frozen";
      list.show(channelsOf(words, drift), drift?.channels.mean ? `live, ${before}` : before);
    },
  };
}

function wentTo(words) {
  const shape = `${words.operator}, ${count(words.channels)} channels, ${FROM[words.statistics]}, ε ${figure(words.epsilon)}`;
  if (words.folded_into) {
    return [`${shape}. Folded into `, h("code", {}, words.folded_into), " by the rule ",
      h("code", {}, words.rule), "."];
  }
  return [`${shape}. `, h("strong", {}, "Left in place: "), words.refusal ?? "no rule applies", "."];
}

const range = (summary) => `${figure(summary.min)} … ${figure(summary.max)}`;

function factsOf(words, scores) {
  const facts = scores ? [
    ["Mean shift d", `${figure(scores.mean_shift)} σ`, `drift from ${figure(scores.mean_floor)}`],
    ["Variance shift r", `${figure(scores.variance_shift)} ln σ²`, `drift from ${figure(scores.variance_floor)}`],
    ["Significance", `${figure(scores.mean_significance)} and ${figure(scores.variance_significance)}`, "of mean and variance; chance stays below 1"],
  ] : [];
  facts.push(
    ["Dead channels", words.dead_channels.length
      ? `${count(words.dead_channels.length)} of ${count(words.channels)}` : "none"],
    ["Scale γ", range(words.summaries.scale)],
    ["Bias β", range(words.summaries.bias)],
    ["Frozen mean μ", range(words.summaries.mean)],
    ["Frozen variance σ²", range(words.summaries.var)],
  );
  return facts;
}

function noteOf(words, drift) {
  if (!words.baseline) return "This layer has no baseline: its frozen scale γ and bias β are shown.";
  const grey = "Grey: the baseline's mean ± σ of the normalized activation.";
  if (!drift || drift.n === 0) return `${grey} No traffic has been compared yet.`;
  const live = `Coloured: live, over ${images(drift.n)}.`;
  return drift.scores ? `${grey} ${live}`
    : `${grey} ${live} Contributions need ${images(drift.n_needed)}.`;
}

/** Without a baseline, what the frozen parameters say of the output: mean β, deviation |γ|. */
function channelsOf(words, drift) {
  const dead = new Set(words.dead_channels);
  const channels = drift?.channels;
  const { scale, bias } = words.frozen;
  const mean = channels?.baseline_mean ?? words.baseline?.mean ?? bias;
  const std = channels?.baseline_std ?? words.baseline?.var.map(Math.sqrt) ?? scale.map(Math.abs);
  return Array.from({ length: words.channels }, (_, index) => ({
    channel: index,
    dead: dead.has(index),
    scale: scale[index],
    bias: bias[index],
    mean: mean[index],
    std: std[index],
    liveMean: channels?.mean?.[index] ?? null,
    liveStd: channels?.std?.[index] ?? null,
    contribution: channels?.contribution?.[index] ?? null,
  }));
}
