// Training history: curves as SVG, and the confusion matrix.

import { count, element } from "./element.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [320, 160, 44, 20];
const SPLITS = ["train", "validation"];

const svgElement = (name, attributes, text = "") => {
  const created = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.textContent = text;
  return created;
};

/** Sections of the curves and of the matrix; none for what the artifact doesn't have. */
export function historySections({ classes, history }) {
  const sections = [];
  if (history?.epochs.length > 1) {
    sections.push(element("section", { "aria-labelledby": "curves-heading" },
      element("h2", { id: "curves-heading" }, `Training, ${count(history.epochs.length, "epoch")}`),
      element("div", { className: "curves" }, curves(history.epochs, "loss", "loss", String),
        curves(history.epochs, "top1_error", "top-1 error", (share) => `${Math.round(100 * share)} %`))));
  }
  if (history?.confusion.length) sections.push(confusionMatrix(classes.map(({ name }) => name), history));
  return sections;
}

function curves(epochs, field, title, format) {
  const values = SPLITS.map((split) => epochs.map((record) => record[`${split}_${field}`]));
  const top = Math.max(...values.flat().filter((value) => value !== null)) || 1;
  const [first, last] = [epochs[0].epoch, epochs.at(-1).epoch];
  const x = (epoch) => LEFT + ((WIDTH - LEFT) * (epoch - first)) / (last - first);
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - value / top);
  const final = SPLITS.map((split, number) => `${split} ${format(Number(values[number].at(-1)?.toPrecision(3)))}`);
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

/** Rows: the true class; columns: the most probable class. */
function confusionMatrix(names, { split, confusion }) {
  const head = names.map((name, number) => element("th", { scope: "col", title: name }, String(number + 1)));
  const rows = confusion.map((row, truth) => {
    const total = row.reduce((sum, times) => sum + times, 0) || 1;
    const cells = row.map((times, predicted) => {
      const title = `${names[truth]}, classified as ${names[predicted]}`;
      const cell = element("td", { className: predicted === truth ? "hit" : "", title }, times ? String(times) : "");
      cell.style.setProperty("--share", `${(60 * times) / total}%`);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, `${truth + 1} ${names[truth]}`), ...cells);
  });
  return element("section", { "aria-labelledby": "matrix-heading" },
    element("h2", { id: "matrix-heading" }, "Confusion matrix"),
    element("p", { className: "quiet" }, `${split} images: rows are true classes, columns the most probable class.`),
    element("div", { className: "wide", tabIndex: 0, role: "region", "aria-labelledby": "matrix-heading" },
      element("table", { className: "matrix" }, element("thead", {}, element("tr", {}, element("td"), ...head)),
        element("tbody", {}, ...rows))));
}
