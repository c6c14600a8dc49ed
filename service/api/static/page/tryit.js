// A place to try it: draw or choose a picture, and see the answer and what it does to every layer.

import { place, tryTo } from "./api.js";
import { h, replace, say } from "./dom.js";
import { sentence } from "./format.js";
import { inShort, showInspection } from "./inspection.js";
import { drawingPad } from "./pad.js";

const LARGEST_PAD = 64; // pixels of an input that is drawn
const CLASSES = 5;
const KINDS = "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff";

/** Builds the section once; `onError` hears of what is no refusal: no answer, no key. */
export function tryView(section, onError) {
  const note = h("p", { class: "note" });
  const pad = drawingPad(() => send());
  const preview = h("img", { class: "preview", alt: "The chosen picture", hidden: true,
    load: () => preview.classList.toggle("small", preview.naturalWidth <= LARGEST_PAD) });
  const file = h("input", { type: "file", id: "file", accept: KINDS, change: () => choose(file.files[0]) });
  const clear = h("button", { type: "button", class: "quiet", click: () => reset() }, "Clear");
  const tools = h("div", { class: "tools" },
    h("label", { for: "file", class: "button" }, "Choose a picture"), file, clear);
  const drop = h("div", { class: "drop" }, pad.canvas, preview, tools);
  const problem = h("p", { class: "problem", role: "alert" });
  const result = h("div", { class: "result" });
  const heard = h("p", { class: "unseen", "aria-live": "polite" });
  section.append(h("h3", { id: "try-title" }, "Try it"), note, drop, problem, heard, result);

  let model = null; // {name, version, preprocessing, labels}
  let layer = null;
  let chosen = null; // a picture
  let answer = null;
  let said = "";
  let running = false;
  let again = false;

  drop.addEventListener("dragover", (event) => event.preventDefault());
  for (const [kind, over] of [["dragenter", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(kind, () => drop.classList.toggle("over", over));
  }
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files[0]);
  });

  function reset() {
    pad.clear();
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.removeAttribute("src");
    preview.hidden = true;
    pad.canvas.hidden = !draws();
    file.value = "";
    [chosen, answer, said] = [null, null, ""];
    say(problem, "");
    render();
  }

  function choose(picture) {
    if (!picture) return;
    reset();
    chosen = picture;
    preview.src = URL.createObjectURL(picture);
    preview.hidden = false;
    pad.canvas.hidden = true;
    send();
  }

  const draws = () => {
    const how = model?.preprocessing;
    return Boolean(how && how.colour === "L" && Math.max(how.width, how.height) <= LARGEST_PAD);
  };

  /** One request at a time; what was drawn meanwhile goes with the next. */
  async function send() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await once().catch(onError);
    } while (again);
    running = false;
  }

  async function once() {
    const asked = model;
    const body = chosen ?? (pad.isEmpty() ? null
      : await pad.picture(model.preprocessing.width, model.preprocessing.height));
    if (!body) return;
    const found = await post(asked, body);
    if (asked !== model || (!chosen && pad.isEmpty())) return; // another model, or cleared meanwhile
    say(problem, found.problem ? sentence(found.problem) : "");
    answer = found.data ?? null;
    said = found.note ?? "";
    render();
  }

  function render() {
    showInspection(result, answer, { layer, labels: model?.labels, note: said });
    say(heard, inShort(answer, model?.labels));
    clear.disabled = pad.isEmpty() && !chosen;
  }

  return {
    /** `next` is {name, version, preprocessing, labels}, or null while it is not known. */
    show(next, selected) {
      const other = next?.name !== model?.name || next?.version !== model?.version;
      model = next;
      if (other) reset();
      drop.hidden = !next?.preprocessing;
      pad.canvas.hidden = !draws() || Boolean(chosen);
      if (next) say(note, noteOf(next, draws()));
      if (selected !== layer) {
        layer = selected;
        render();
      }
    },
  };
}

function noteOf({ preprocessing: how, name }, draws) {
  if (!how) {
    return `${name} takes numbers, not pictures: its bundle has no preprocessing. Rows go to …/predict as JSON.`;
  }
  const size = `${how.width} × ${how.height}, ${how.colour === "L" ? "grey" : "colour"}`;
  return draws ? `Draw, or drop a picture. The network sees it as ${size}. It does not count as traffic.`
    : `Drop a picture, or choose one. The network sees it as ${size}. It does not count as traffic.`;
}

/** The inspection; where layers cannot be compared, the prediction and why. */
async function post(model, body) {
  const top = model.labels ? `?top_k=${Math.min(CLASSES, model.labels.length)}` : "";
  const options = { method: "POST", body, type: body.type };
  const found = await tryTo(`${place(model)}/inspect${top}`, options);
  if (found.status !== 404) return found;
  return { ...(await tryTo(`${place(model)}/predict${top}`, options)), note: sentence(found.problem) };
}
