// The page: what is chosen, when the service is asked, and who shows the answers.

import { Away, KeyNeeded, Refused, ask, hasKey, isReady, layerPath, place, setKey, tryTo } from "./api.js";
import { changesView } from "./changes.js";
import { byId, h, replace, say } from "./dom.js";
import { effect } from "./effects.js";
import { timeWithSeconds } from "./format.js";
import { historyView } from "./history.js";
import { layerView } from "./layer.js";
import { promisesView } from "./promises.js";
import { stripView } from "./strip.js";
import { trafficView } from "./traffic.js";
import { tryView } from "./tryit.js";
import { classesView, verdictView } from "./verdict.js";

const EVERY_MS = 2000;
const LONGEST_MS = 30000;
const HISTORY_EVERY_MS = 10000;

const chosen = { name: null, version: null, layer: null, window: null };
let index = []; // the repository's
let about = null; // of the chosen model: {report, preprocessing, labels}
let words = null; // of the chosen layer, as frozen
let seen = {}; // {drift, problem, history, layer}
let historyAt = 0;
let auto = { name: null, verdict: null }; // the layer that is shown while none is chosen
let failures = 0;
let timer = 0;
let running = null;

const verdict = verdictView(byId("verdict"), (seconds) => {
  chosen.window = seconds;
  look();
});
const strip = stripView(
  { strip: byId("strip"), legend: byId("legend"), note: byId("layers-note") },
  (name) => choose({ ...chosen, layer: name }),
);
const views = {
  layer: layerView(byId("layer")),
  history: historyView(byId("time")),
  changes: changesView(byId("changes")),
  classes: classesView(byId("classes")),
  traffic: trafficView(byId("traffic")),
  promises: promisesView(byId("promises")),
  tryIt: tryView(byId("try"), (error) => trouble(error)),
};

/** Asks for everything that is in sight, and shows it; answers for what is no longer chosen go. */
async function refresh() {
  const [ready, found] = await Promise.all([isReady(), ask("/v2/repository/index", { method: "POST" })]);
  index = found;
  service(ready);
  pickOne();
  showModels();
  if (failures) about = null; // it may be another service by now
  if (!about && isServed()) await learn();
  if (about) await observe();
  show();
}

async function learn() {
  const { name, version } = chosen;
  const at = place({ name, version });
  const [report, config] = await Promise.all([ask(`${at}/normalization`), ask(`${at}/config`)]);
  if (name !== chosen.name || version !== chosen.version) return;
  const parameter = (key) => {
    const text = config.parameters?.[key]?.string_value;
    return text ? JSON.parse(text) : null;
  };
  about = { report, preprocessing: parameter("preprocessing"), labels: parameter("labels") };
  const names = report.layers.map((layer) => layer.name);
  if (!names.includes(chosen.layer)) chosen.layer = null;
  auto = { name: names[0] ?? null, verdict: null };
}

const layerNow = () => chosen.layer ?? auto.name;

async function observe() {
  const { name, version, window: seconds } = chosen;
  const layer = layerNow();
  const at = place({ name, version });
  const query = seconds ? `?window=${seconds}` : "";
  const due = Date.now() - historyAt >= HISTORY_EVERY_MS;
  const [drift, stats, history, one, arrays] = await Promise.all([
    about.unwatched ?? tryTo(`${at}/drift${query}`),
    tryTo(`${at}/stats`),
    due && !about.unwatched ? tryTo(`${at}/drift/history`) : null,
    layer && !about.unwatched ? tryTo(`${at}/drift/layers/${layerPath(layer)}${query}`) : null,
    layer && words?.name !== layer ? tryTo(`${at}/normalization/${layerPath(layer)}`) : null,
  ]);
  if (name !== chosen.name || version !== chosen.version || layer !== layerNow()) return;
  if (drift.status === 404) about.unwatched = drift; // that does not change while it is served
  if (history) {
    historyAt = Date.now();
    seen.history = history.data ?? null;
  }
  if (arrays) words = arrays.data ?? null;
  seen = { ...seen, drift: drift.data, problem: drift.problem, layer: one?.data };
  follow(drift.data);
  views.traffic.show(`${name}/${version}`, stats.data?.model_stats[0], Date.now() / 1000);
}

/** While no layer is chosen, the one that has moved most is shown: as of the last change of verdict,
 * or since another has moved twice as far. */
function follow(drift) {
  if (!drift?.layers.length) return;
  const shown = drift.layers.find((one) => one.name === auto.name);
  const most = drift.layers.reduce((a, b) => (effect(b) > effect(a) ? b : a));
  if (drift.verdict === auto.verdict && shown && effect(most) < 2 * effect(shown)) return;
  if (!chosen.layer && most.name !== auto.name) running.again = true;
  auto = { name: most.name, verdict: drift.verdict };
}

function show() {
  if (!about && isServed()) return; // about to be known
  byId("empty").hidden = Boolean(about);
  for (const id of ["main", "try", "traffic", "promises"]) byId(id).hidden = !about;
  if (!about) {
    showEmpty();
    return;
  }
  const model = { name: chosen.name, version: chosen.version };
  verdict.show({ model, ...seen, window: chosen.window });
  const layers = about.report.layers.map((one) => one.name);
  const layer = layerNow();
  strip.show({ layers, drift: seen.drift, selected: layer });
  views.layer.show({ words: words?.name === layer ? words : null, drift: seen.layer?.name === layer ? seen.layer : null });
  views.history.show(seen.history, layer);
  views.changes.show(seen.drift);
  views.classes.show(seen.drift, about.labels);
  views.promises.show(about.report);
  views.tryIt.show({ ...model, ...about }, layer);
}

function showEmpty() {
  const entry = current();
  replace(byId("empty"), ...(entry
    ? [h("h2", {}, `${entry.name} · version ${entry.version} is not served`),
      h("p", {}, entry.reason || "It has been unloaded.")]
    : [h("h2", {}, "No models yet"),
      h("p", {}, "The folder of models is empty. Write a bundle into it, and have it loaded:"),
      h("pre", {}, "foldserve bundle network.onnx --name mine --models models\nPOST /v2/repository/models/mine/load"),
      h("p", { class: "note" }, "This page looks again by itself.")]));
}

const current = () => index.find((one) => one.name === chosen.name && one.version === chosen.version);
const isServed = () => current()?.state === "READY";

/** Keeps the choice while there is such a version; else the first that is served, or the first. */
function pickOne() {
  if (current()) {
    if (!isServed()) about = null;
    return;
  }
  const next = index.find((one) => one.state === "READY") ?? index[0];
  change({ name: next?.name ?? null, version: next?.version ?? null, layer: null });
}

function change({ name, version, layer }) {
  if (name !== chosen.name || version !== chosen.version) {
    about = words = null;
    seen = {};
    historyAt = 0;
    chosen.window = null;
  }
  Object.assign(chosen, { name, version, layer });
}

/** Takes up another choice: shows what is known of it, and asks for the rest. */
function choose(next) {
  change(next);
  const parts = [chosen.name, chosen.version, chosen.layer].filter(Boolean).map(encodeURIComponent);
  history.replaceState(null, "", `#${parts.join("/")}`);
  showModels();
  show();
  look();
}

function showModels() {
  replace(byId("models"), ...index.map((one) => {
    const ready = one.state === "READY";
    const here = one.name === chosen.name && one.version === chosen.version;
    return h("li", {}, h("button", {
      type: "button", class: ready ? "" : "out", "aria-current": here ? "true" : null,
      title: one.reason || null, "data-name": one.name, "data-version": one.version,
    }, h("span", { class: "name" }, one.name), " ", h("span", { class: "version" }, `v${one.version}`), " ",
    h("span", { class: "state" }, ready ? (one.reason ? "ready, newer refused" : "ready") : "unavailable")));
  }));
}

byId("models").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { name, version } = button.dataset;
  choose({ name, version, layer: null });
  [...byId("models").querySelectorAll("button")]
    .find((one) => one.dataset.name === name && one.dataset.version === version)?.focus();
});

function service(ready) {
  const served = index.filter((one) => one.state === "READY").length;
  byId("service").dataset.state = ready ? "ready" : "waiting";
  say(byId("service"), `${ready ? "Ready" : "Not ready"}, ${served} of ${index.length} version${index.length === 1 ? "" : "s"} served`);
}

// When the service is asked: every so often, not while nobody looks, more rarely while it is away.

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (running) {
    running.again = true;
    return;
  }
  running = { again: false };
  try {
    await refresh();
    failures = 0;
    byId("away").hidden = true;
    byId("key").hidden = true;
    byId("content").hidden = false;
    byId("forget").hidden = !hasKey();
    document.body.classList.remove("stale");
    byId("service").title = `Updated at ${timeWithSeconds(Date.now() / 1000)}`;
  } catch (error) {
    trouble(error);
  }
  const { again } = running;
  running = null;
  if (again) look();
  else if (byId("key").hidden) timer = setTimeout(look, pause());
}

const pause = () => Math.min(LONGEST_MS, EVERY_MS * 2 ** Math.min(failures, 5));

function trouble(error) {
  if (error instanceof KeyNeeded) {
    askForKey(error.given);
    return;
  }
  failures += 1;
  if (!(error instanceof Away) && !(error instanceof Refused)) {
    console.error(error);
  }
  document.body.classList.add("stale");
  const words = error instanceof Away ? "The service does not answer."
    : error instanceof Refused ? `The service refused: ${error.message}.` : "The page could not show an answer.";
  say(byId("away"), `${words} What is shown is what was last known; it is asked again by itself.`);
  byId("away").hidden = false;
}

function askForKey(given) {
  setKey(null);
  byId("content").hidden = true;
  byId("forget").hidden = true;
  byId("away").hidden = true;
  const form = byId("key");
  const first = form.hidden;
  form.hidden = false;
  say(byId("key-problem"), given ? "This key is not one of the service's." : "");
  if (first) byId("key-field").focus();
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key-field").value.trim());
  byId("key-field").value = "";
  look();
});
byId("forget").addEventListener("click", () => askForKey(false));
document.addEventListener("visibilitychange", look);

/** The choice that the address names, as of a link. */
function remembered() {
  try {
    const [name, version, layer] = location.hash.slice(1).split("/").map(decodeURIComponent);
    if (name && version) change({ name, version, layer: layer ?? null });
  } catch {
    // an address that nobody made
  }
}

window.addEventListener("hashchange", () => {
  remembered();
  look();
});
remembered();
look();
