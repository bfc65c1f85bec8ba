// The labels of the library with their counts, and a field to find one of many.

import { byId, element, isWide, tidy } from "./element.js";
import { toAddress } from "./query.js";

const MANY = 12;

/** The labels as suggestions wherever one is typed. */
export const showKnownLabels = (labels) => byId("known-labels")
  .replaceChildren(...labels.map(({ label }) => element("option", { value: label })));

/** Links to the images of each label, and of all. Open where there is room, and folded on narrow screens. */
export function labelList(labels, total, query) {
  const item = (label, name, images) => {
    const link = element("a", { href: toAddress({ ...query, label }) }, element("span", { className: "label" }, name),
      element("span", { className: "number" }, images.toLocaleString("en")));
    if (label === query.label) link.setAttribute("aria-current", "true");
    return element("li", {}, link);
  };
  const items = labels.map(({ label, images }) => item(label, tidy(label), images));
  const field = element("input", {
    type: "search", placeholder: "Find a label", "aria-label": "Find a label", hidden: labels.length <= MANY,
    oninput: () => items.forEach((row, at) => {
      row.hidden = !labels[at].label.toLowerCase().includes(field.value.trim().toLowerCase());
    }),
  });
  return element("details", { className: "labels", open: isWide() },
    element("summary", {}, element("h2", {}, "Labels")), field,
    element("ul", {}, item("", "all", total), ...items));
}
