// The classes of the network as chips: some of them, all, or those that match what is typed.

import { button, byName, count, element, tidy } from "./element.js";
import { EMPTY, toAddress } from "./query.js";

const FIRST = 18;

/** A heading, a search field if there are many, and the chips. A class with images in the library is a link. */
export function classList(classes, labels) {
  const images = new Map(labels.map((counted) => [counted.label, counted.images]));
  const sorted = [...classes].sort((a, b) => byName(a.name, b.name));
  const chips = element("ul", { className: "class-chips" });
  const none = element("p", { className: "quiet", role: "status" });
  const all = element("li", {}, button(`Show all ${count(classes.length, "class", "classes")}`, () => {
    show(sorted);
    field.focus(); // the button is gone
  }));
  const field = element("input", {
    type: "search", placeholder: "Search the classes", "aria-label": "Search the classes", oninput: () => search(field.value),
  });

  const show = (shown, ...more) => {
    chips.replaceChildren(...shown.map((item) => chip(item, images)), ...more);
    none.textContent = shown.length ? "" : "No class has this name: the network gives such an image the name of another class.";
  };
  const search = (text) => {
    const words = text.trim().toLowerCase();
    if (words) show(sorted.filter(({ name }) => name.toLowerCase().includes(words)));
    else if (sorted.length > FIRST) show(spread(sorted, FIRST), all);
    else show(sorted);
  };

  search("");
  const many = sorted.length > FIRST;
  return [
    element("div", { className: "row heading" }, element("h2", { id: "classes-heading" },
      `${count(classes.length, "class", "classes")}${many ? ", such as" : ""}`), many ? field : null), chips, none,
  ];
}

function chip({ id, name }, images) {
  const label = [name, id].find((text) => images.has(text));
  if (label === undefined) return element("li", {}, tidy(name));
  const href = toAddress({ ...EMPTY, view: "library", label });
  return element("li", {}, element("a", { href, title: count(images.get(label), "image") }, tidy(name)));
}

/** At most `number` of the items, evenly spread. */
export const spread = (items, number) => (items.length <= number ? items
  : Array.from({ length: number }, (_, at) => items[Math.floor((at * items.length) / number)]));
