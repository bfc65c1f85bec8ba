// Training history: curves as SVG.

import { count, element, section } from "./element.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [320, 160, 44, 20];
const SPLITS = ["train", "validation"];

const svgElement = (name, attributes, text = "") => {
  const created = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.textContent = text;
  return created;
};

/** A section with the curves of loss and error. */
export function curveSection(epochs) {
  return section("curves-heading", `Training, ${count(epochs.length, "epoch")}`,
    element("div", { className: "curves" }, curves(epochs, "loss", "loss", String),
      curves(epochs, "top1_error", "top-1 error", (share) => `${Math.round(100 * share)}\u00a0%`)));
}

function curves(epochs, field, title, format) {
  const values = SPLITS.map((split) => epochs.map((record) => record[`${split}_${field}`]));
  const top = Math.max(...values.flat().filter((value) => value !== null)) || 1;
  const [first, last] = [epochs[0].epoch, epochs.at(-1).epoch];
  const x = (epoch) => LEFT + ((WIDTH - LEFT) * (epoch - first)) / (last - first);
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - value / top);
  const final = SPLITS.flatMap((split, number) => {
    const value = values[number].at(-1);
    return value === null || value === undefined ? [] : [`${split} ${format(Number(value.toPrecision(3)))}`];
  });
  const plot = svgElement("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} by epoch; at the end ${final.join(", ")}`,
  });
  for (const value of [0, top]) {
    plot.append(svgElement("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
      svgElement("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, format(Number(value.toPrecision(2)))));
  }
  plot.append(svgElement("text", { x: LEFT, y: HEIGHT - 4 }, `epoch ${first}`),
    svgElement("text", { x: WIDTH, y: HEIGHT - 4, "text-anchor": "end" }, last));
  SPLITS.forEach((split, number) => {
    const points = epochs.map(({ epoch }, at) => [epoch, values[number][at]]).filter(([, value]) => value !== null);
    const line = points.map(([at, value]) => `${x(at)},${y(value)}`).join(" ");
    plot.append(svgElement("polyline", { class: split, points: line }));
  });
  const legend = SPLITS.map((split) => element("span", { className: split }, split));
  return element("figure", {}, element("figcaption", { className: "row" }, title, ...legend), plot);
}
