// How the training went: curves as SVG, and a table of what is taken for what.

import { count, element } from "./element.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [320, 160, 44, 20];
const PARTS = ["train", "validation"];

const drawn = (name, attributes, text = "") => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};

/** Sections for the curves and the matrix; none for what isn't there. */
export function sections({ classes, history }) {
  const made = [];
  if (history?.epochs.length > 1) {
    made.push(element("section", { "aria-labelledby": "curves-heading" },
      element("h2", { id: "curves-heading" }, `Training, ${count(history.epochs.length, "epoch")}`),
      element("div", { className: "curves" }, curves(history.epochs, "loss", "loss", String),
        curves(history.epochs, "top1_error", "top-1 error", (share) => `${Math.round(100 * share)} %`))));
  }
  if (history?.confusion.length) made.push(matrix(classes, history));
  return made;
}

function curves(epochs, field, title, written) {
  const values = PARTS.map((part) => epochs.map((record) => record[`${part}_${field}`]));
  const top = Math.max(...values.flat().filter((value) => value !== null)) || 1;
  const [first, last] = [epochs[0].epoch, epochs.at(-1).epoch];
  const x = (epoch) => LEFT + ((WIDTH - LEFT) * (epoch - first)) / (last - first);
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - value / top);
  const ended = PARTS.map((part, place) => `${part} ${written(Number(values[place].at(-1)?.toPrecision(3)))}`);
  const plot = drawn("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} by epoch; at the end ${ended.join(", ")}`,
  });
  for (const value of [0, top]) {
    plot.append(drawn("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
      drawn("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, written(Number(value.toPrecision(2)))));
  }
  plot.append(drawn("text", { x: LEFT, y: HEIGHT - 4 }, `epoch ${first}`),
    drawn("text", { x: WIDTH, y: HEIGHT - 4, "text-anchor": "end" }, last));
  PARTS.forEach((part, place) => {
    const points = epochs.map(({ epoch }, at) => [epoch, values[place][at]]).filter(([, value]) => value !== null);
    const line = points.map(([at, value]) => `${x(at)},${y(value)}`).join(" ");
    plot.append(drawn("polyline", { class: part, points: line }));
  });
  const legend = PARTS.map((part) => element("span", { className: part }, part));
  return element("figure", {}, element("figcaption", { className: "row" }, title, ...legend), plot);
}

/** Rows: the true class; columns: the class named first. */
function matrix(classes, { part, confusion }) {
  const head = classes.map((name, number) => element("th", { scope: "col", title: name }, String(number + 1)));
  const rows = confusion.map((row, truth) => {
    const all = row.reduce((sum, times) => sum + times, 0) || 1;
    const cells = row.map((times, named) => {
      const title = `${classes[truth]}, named ${classes[named]}`;
      const cell = element("td", { className: named === truth ? "hit" : "", title }, times ? String(times) : "");
      cell.style.setProperty("--share", `${(60 * times) / all}%`);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, `${truth + 1} ${classes[truth]}`), ...cells);
  });
  return element("section", { "aria-labelledby": "matrix-heading" },
    element("h2", { id: "matrix-heading" }, "What is taken for what"),
    element("p", { className: "quiet" }, `Images of ${part}: rows are their classes, columns the class named first.`),
    element("div", { className: "wide", tabIndex: 0, role: "region", "aria-labelledby": "matrix-heading" },
      element("table", { className: "matrix" }, element("thead", {}, element("tr", {}, element("td"), ...head)),
        element("tbody", {}, ...rows))));
}
