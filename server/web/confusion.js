// The confusion matrix, in the order of names; of many classes the most frequent confusions.

import { byName, element, quiet, scrollable, section } from "./element.js";

const NAMED_COLUMNS = 12; // more are numbered
const MISTAKES = 20;

/** `names`: of the classes; `history`: with `confusion` (rows: the true class) of the images of `split`. */
export function confusionSection(names, { split, confusion }, maxClasses) {
  const large = names.length > maxClasses;
  const [title, content, explanation] = large
    ? ["Most frequent confusions", mistakeTable(names, confusion), `${split}.`]
    : ["Confusion matrix", matrix(names, confusion), `${split}: rows are true classes, columns predicted classes.`];
  return section("matrix-heading", title, quiet(explanation), scrollable("matrix-heading", content));
}

function matrix(unordered, counts) {
  const order = [...unordered.keys()].sort((a, b) => byName(unordered[a], unordered[b]));
  const names = order.map((number) => unordered[number]);
  const confusion = order.map((truth) => order.map((predicted) => counts[truth][predicted]));
  const named = names.length <= NAMED_COLUMNS;
  const head = names.map((name, number) => element("th", { scope: "col", title: name, "aria-label": name },
    element("span", {}, named ? name : String(number + 1))));
  const rows = confusion.map((row, truth) => {
    const total = row.reduce((sum, times) => sum + times, 0) || 1;
    const cells = row.map((times, predicted) => {
      const title = `${names[truth]}, predicted as ${names[predicted]}`;
      const cell = element("td", { className: predicted === truth ? "hit" : "", title }, times ? String(times) : "");
      cell.style.setProperty("--share", `${(60 * times) / total}%`);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, named ? names[truth] : `${truth + 1} ${names[truth]}`), ...cells);
  });
  return element("table", { className: named ? "matrix named" : "matrix" },
    element("thead", {}, element("tr", {}, element("td"), ...head)), element("tbody", {}, ...rows));
}

function mistakeTable(names, confusion) {
  const mistakes = confusion.flatMap((row, truth) => row.map((times, predicted) => ({ truth, predicted, times })))
    .filter(({ truth, predicted, times }) => times && predicted !== truth).sort((a, b) => b.times - a.times).slice(0, MISTAKES);
  const head = ["True class", "Predicted class", "Images"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {},
    ...mistakes.map(({ truth, predicted, times }) => element("tr", {}, element("th", { scope: "row" }, names[truth]),
      element("td", {}, names[predicted]), element("td", {}, String(times))))));
}
