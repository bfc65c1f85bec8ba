// Figure 4: the most probable classes as bars; the true one, where it is known, in another color and said in words.

import { byId, element } from "./element.js";

let shown = [];

/** Show predictions, most probable first, and the milliseconds that they took; null: none are known. */
export function show(predictions, took) {
  byId("named").hidden = !predictions;
  byId("took").textContent = took === undefined ? "" : `Ten crops, averaged, in ${took.toFixed(0)} ms.`;
  shown = (predictions ?? []).map((prediction) => {
    const percent = `${(100 * prediction.probability).toFixed(1)} %`;
    const bar = element("div", { className: "bar" });
    bar.style.setProperty("--share", `${100 * prediction.probability}%`);
    const name = element("span", { className: "name" }, prediction.name);
    return { prediction, name, item: element("li", {}, bar, name, element("span", { className: "percent" }, percent)) };
  });
  byId("classes").replaceChildren(...shown.map(({ item }) => item));
}

/** Say the true label; an empty one: unknown. `source`: how it is known. */
export function mark(label, source) {
  byId("truth").hidden = !label;
  byId("truth").replaceChildren(element("span", { className: "true" }, label), ` ${source}`);
  for (const { prediction, name, item } of shown) {
    const right = Boolean(label) && [prediction.name, prediction.id].includes(label);
    item.classList.toggle("right", right);
    const said = right ? [element("span", { className: "unseen" }, " (its label)")] : [];
    name.replaceChildren(prediction.name, ...said);
  }
}
