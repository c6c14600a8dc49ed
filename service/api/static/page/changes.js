// Known changes of pictures that are beyond chance, and how much of what is seen each explains.

import { h, nameWidth, replace } from "./dom.js";
import { figure, percent } from "./format.js";

const LEAST = 0.1; // what explains less only lies across what has happened

/** Builds the section once; it is hidden while no known change is beyond chance. */
export function changesView(section) {
  const rows = h("div", { class: "classes" });
  section.append(
    h("h3", { id: "changes-title" }, "Known changes"),
    h("p", { class: "note" },
      "What the traffic looks like, beyond chance. Bar: how much of the layers' movement each would " +
      "explain; what is alike overlaps."),
    rows);
  return {
    show(drift) {
      const found = (drift?.changes ?? []).filter((one) => one.alarm && one.explained >= LEAST);
      section.hidden = !found.length;
      rows.style.setProperty("--name", nameWidth(found.map((one) => one.name)));
      found.sort((a, b) => b.explained - a.explained);
      replace(rows, ...found.map(changeRow));
    },
  };
}

function changeRow({ name, amount, explained }) {
  const bar = h("span", { class: "bar" });
  bar.style.width = `${100 * explained}%`;
  const times = `${figure(amount, 2)} times the change as it was measured`;
  return h("div", { class: "class", title: times },
    h("span", { class: "name" }, name),
    h("span", { class: "track", "aria-hidden": "true" }, bar),
    h("span", { class: "value" }, percent(explained), h("span", { class: "unseen" }, ` (${times})`)));
}
