// The most probable classes as bars (Figure 4); the true class, if known, in another color and named in words.

import { byId, element } from "./element.js";

let rows = [];

/** Show predictions, most probable first, and the milliseconds of inference; null hides them. */
export function showClasses(predictions, milliseconds) {
  byId("classification").hidden = !predictions;
  byId("inference-time").textContent = milliseconds === undefined
    ? "" : `Average of ten crops, computed in ${milliseconds.toFixed(0)} ms.`;
  rows = (predictions ?? []).map((prediction) => {
    const percent = `${(100 * prediction.probability).toFixed(1)} %`;
    const bar = element("div", { className: "bar" });
    bar.style.setProperty("--share", `${100 * prediction.probability}%`);
    const name = element("span", { className: "name" }, prediction.name);
    return { prediction, name, item: element("li", {}, bar, name, element("span", { className: "percent" }, percent)) };
  });
  byId("classes").replaceChildren(...rows.map(({ item }) => item));
}

/** Mark the true class; an empty label: unknown. `source`: how it is known. */
export function markLabel(label, source) {
  byId("known-label").hidden = !label;
  byId("known-label").replaceChildren(element("span", { className: "true" }, label), ` ${source}`);
  for (const { prediction, name, item } of rows) {
    const correct = Boolean(label) && [prediction.name, prediction.id].includes(label);
    item.classList.toggle("correct", correct);
    const note = correct ? [element("span", { className: "visually-hidden" }, " (its label)")] : [];
    name.replaceChildren(prediction.name, ...note);
  }
}
