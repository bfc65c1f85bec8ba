// A card of the search view: an image to search from, and its actions.

import { openDetail } from "./detail.js";
import { button, element, hidden, meter, tidy } from "./element.js";
import { credit, entryName } from "./entry.js";
import { currentQuery, navigate } from "./navigation.js";
import { addNegative, addPositive, queryById, toAddress } from "./query.js";
import { showThumbnail } from "./server-image.js";

/** A neighbor, with its similarity from 0 to 1 as a bar and a number. */
export function neighborCard(entries, position) {
  const entry = entries[position];
  const { id, distance, similarity } = entry;
  const bar = element("div", { className: "similarity" },
    meter(similarity, "Similarity", `similarity ${similarity.toFixed(2)}, distance ${distance.toFixed(2)}`),
    element("small", { "aria-hidden": "true" }, similarity.toFixed(2)));
  const change = (word, add) => {
    const changed = button(word, () => navigate(add(currentQuery(), id)), { "aria-label": `${word} like this: ${entryName(entry)}` });
    changed.append(element("span", { className: "long" }, "\u00a0like this"));
    return changed;
  };
  return card(entries, position, bar, [change("More", addPositive), change("Less", addNegative)]);
}

export const startCard = (entries, position) => card(entries, position, null, []);

function card(entries, position, bar, actions) {
  const entry = entries[position];
  const { id, label } = entry;
  const name = entryName(entry);
  const file = bar || label === null ? element("small", { className: "file", title: name }, name) : null;
  const image = element("img", { alt: "", width: 256, height: 256, loading: "lazy" });
  showThumbnail(image, id);
  const link = element("a", { href: toAddress(queryById(currentQuery(), id)), title: "Find images like this one" },
    image, element("span", { className: "label" }, label === null ? "no label" : tidy(label)), hidden(`, ${name}`));
  const details = button("⤢", () => openDetail(entries, position), {
    className: "details", title: "Details", "aria-label": `Details of ${name}`,
  });
  return element("li", { className: "card" }, link, bar, file, credit(entry), element("div", { className: "actions" }, ...actions), details);
}
