// One image of the library: a link to search from it, a box to select it, and its actions.

import { openDetail } from "./detail.js";
import { button, element, hidden, tidy } from "./element.js";
import { credit, entryName } from "./entry.js";
import { EMPTY, toAddress } from "./query.js";
import { showThumbnail } from "./server-image.js";

/** `cards`: the list it belongs to, which selects, relabels and deletes. */
export function libraryCard(entry, cards) {
  const { id } = entry;
  const name = entryName(entry);
  const image = element("img", { alt: "", width: 256, height: 256, loading: "lazy" });
  showThumbnail(image, id);
  const label = element("span", { className: "label" });
  const box = element("input", { type: "checkbox", "aria-label": `Select ${name}` });
  box.addEventListener("click", (event) => cards.tick(id, box.checked, event.shiftKey));
  const act = (text, work, before = () => {}) => button(text, (event) => {
    if (event.detail > 1) return; // a double click's second may meet another card
    before(event);
    work.call(cards, [id]);
  }, { "aria-label": `${text}: ${name}` });
  const actions = (before) => [act("Relabel", cards.relabel, before), act("Delete", cards.remove, before)];
  const close = (event) => event.target.closest("dialog").close();
  const open = () => {
    const shown = cards.visible().map((other) => cards.cards.get(other).entry);
    openDetail(shown, shown.indexOf(entry), (other) => cards.cards.get(other.id).actions(close));
  };
  const item = element("li", { className: "card" },
    element("a", { href: toAddress({ ...EMPTY, like: [id] }), title: "Find images like this one" }, image, label, hidden(`, ${name}`)),
    element("small", { className: "file", title: name }, name), credit(entry),
    element("label", { className: "tick" }, box),
    element("div", { className: "actions" }, ...actions()),
    button("⤢", open, { className: "details", title: "Details", "aria-label": `Details of ${name}` }));

  const setLabel = (text) => {
    entry.label = text;
    label.textContent = text === null ? "no label" : tidy(text);
  };
  setLabel(entry.label);
  return {
    entry, item, actions, setLabel,
    tick: (on) => { box.checked = on; item.classList.toggle("selected", on); },
  };
}
