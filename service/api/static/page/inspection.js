// What one input got for an answer, and what it did to every layer.

import { h, nameWidth, replace } from "./dom.js";
import { figure, percent, sentence } from "./format.js";

const MOST_NUMBERS = 8;

/** The answer to `inspect`, or to `predict` where layers cannot be compared; `layer` is chosen. */
export function showInspection(place, answer, { layer, labels, note }) {
  if (!answer) {
    place.replaceChildren();
    return;
  }
  replace(place,
    ...predictions(answer.predictions[0], labels),
    ...(answer.layers ? response(answer, layer) : [h("p", { class: "note" }, note)]));
}

/** The answer in a sentence, for those who hear the page. */
export function inShort(answer, labels) {
  if (!answer) return "";
  const best = labels ? answer.predictions[0][0] : null;
  const name = best ? `${best.label ?? best.index ?? "no number"}, ${percent(best.probability)}. ` : "Answered. ";
  return name + (answer.layers ? summary(answer, farthest(answer.layers)) : "");
}

const farthest = (layers) => [...layers].sort((a, b) => share(b) - share(a))[0];

function predictions(found, labels) {
  if (labels) {
    const list = h("ol", { class: "answers" }, ...found.map(ranked));
    list.style.setProperty("--name", nameWidth(found.map((one) => one.label ?? "no number")));
    return [list];
  }
  const numbers = Array.isArray(found) ? found.flat(Infinity) : [found];
  const plain = numbers.every((one) => typeof one === "number" || one === null);
  const shown = plain ? numbers.slice(0, MOST_NUMBERS).map((one) => figure(one)).join(", ") : JSON.stringify(found).slice(0, 200);
  const more = plain && numbers.length > MOST_NUMBERS ? `, … (${numbers.length} values)` : "";
  return [h("p", { class: "numbers" }, shown + more)];
}

function ranked({ label, index, probability }) {
  const bar = h("span", { class: "bar" });
  bar.style.width = `${100 * (probability ?? 0)}%`;
  return h("li", { class: "class" },
    h("span", { class: "name" }, label ?? (index === null ? "no number" : String(index))),
    h("span", { class: "track", "aria-hidden": "true" }, bar),
    h("span", { class: "value" }, probability === null ? "–" : percent(probability)));
}

function response(answer, chosen) {
  const worst = farthest(answer.layers);
  const one = answer.layers.find((each) => each.name === chosen) ?? worst;
  return [
    h("h4", {}, "What it does to every layer"),
    h("p", { class: answer.outlier ? "unlike" : "like" }, summary(answer, worst)),
    lane(answer.layers, one.name),
    h("p", { class: "note" }, answer.baseline.kind === "measured"
      ? "Height: distance of its channel means from the baseline's, in units of what 99.9% of the baseline's images stay below: the line."
      : "Height: distance of its channel means from what the parameters lead to expect; without reference images there is no limit."),
    h("h4", {}, `Channels that respond most in ${one.name}`),
    h("table", { class: "responders" },
      h("thead", {}, h("tr", {}, ...["Channel", "Mean", "Baseline", "Standard score"].map((name) =>
        h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...one.top_channels.map((channel) => h("tr", {},
        h("th", { scope: "row" }, String(channel.channel)),
        h("td", {}, figure(channel.mean)),
        h("td", {}, figure(channel.baseline_mean)),
        h("td", {}, figure(channel.standard_score)))))),
  ];
}

const share = (layer) => (layer.mean_distance === null ? Infinity : layer.mean_distance / (layer.limit ?? 1));

function summary(answer, worst) {
  if (answer.first_nonfinite) return sentence(`the first layer that is not finite is ${answer.first_nonfinite}`);
  if (worst.limit === null) return sentence(`farthest in ${worst.name}: ${figure(worst.mean_distance)}, where about 1 is expected`);
  const where = `${figure(share(worst))} × the limit in ${worst.name}`;
  return answer.outlier ? `▲ Unlike the images of the baseline: ${where}.`
    : `● Like the images of the baseline: at most ${where}.`;
}

function lane(layers, chosen) {
  const shares = layers.map((layer) => Math.min(share(layer), 1e6));
  const largest = Math.max(3, ...shares);
  const height = (value) => Math.log2(1 + value) / Math.log2(1 + largest);
  const list = h("ol", { class: "lane" }, ...layers.map((layer, index) => {
    const bar = h("span", { class: `bar ${layer.beyond ? "beyond" : "within"}` });
    bar.style.height = `${Math.max(3, 100 * height(shares[index])).toFixed(1)}%`;
    const words = layer.limit === null ? `distance ${figure(layer.mean_distance)}`
      : `${figure(share(layer))} × the limit${layer.beyond ? ", beyond" : ""}`;
    return h("li", { class: layer.name === chosen ? "chosen" : "", title: `${layer.name}: ${words}` },
      h("span", { class: "unseen" }, `${layer.name}: ${words}`),
      h("span", { class: "column", "aria-hidden": "true" }, bar));
  }));
  list.style.setProperty("--floor", String(height(1)));
  return list;
}
