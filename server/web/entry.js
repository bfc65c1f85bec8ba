// One image of the index in the browse view: searched from, labeled anew, removed and brought back.

import { ask, change, showImage } from "./api.js";
import { element } from "./element.js";
import { clear, explain } from "./notice.js";
import { address, EMPTY } from "./query.js";

/** Its list item. `changed()`: called when counts of labels are others. */
export function entry({ id, label, width, height }, changed) {
  const item = element("li");
  const attempt = async (work) => {
    try {
      clear();
      await work();
      changed();
    } catch (error) {
      explain(error);
    }
  };

  const show = (focused) => {
    const alt = `Image ${id}, ${width} × ${height}`;
    const image = element("img", { alt, width: 128, height: 128, loading: "lazy" });
    showImage(image, `images/${id}/thumbnail`);
    const link = element("a", { href: address({ ...EMPTY, like: [id] }), title: "Search from it" }, image,
      element("span", { className: "label" }, label ?? "no label"), element("small", {}, `image ${id}`));
    const edit = button("Edit", `the label of image ${id}`, askForLabel);
    const removal = button("Remove", `image ${id}`, remove);
    item.replaceChildren(link, element("div", { className: "row signs" }, edit, removal));
    if (focused) edit.focus();
  };

  const askForLabel = () => {
    const input = element("input", {
      value: label ?? "", maxLength: 200, list: "known-labels", "aria-label": `Label of image ${id}`,
    });
    const form = element("form", { className: "row" }, input, element("button", {}, "Save"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(async () => {
        ({ label } = await change(id, { label: input.value.trim() || null }));
        show(true);
      });
    });
    form.addEventListener("keydown", (event) => event.key === "Escape" && show(true));
    item.lastChild.replaceWith(form);
    input.select();
  };

  const remove = () => attempt(async () => {
    await ask(`images/${id}`, { method: "DELETE" });
    const undo = button("Undo", `bring image ${id} back`, () => attempt(async () => {
      await change(id, { removed: false });
      show(true);
    }));
    item.replaceChildren(element("p", { className: "removed", role: "status" }, `Image ${id} is removed.`), undo);
    undo.focus();
  });

  show(false);
  return item;
}

const button = (text, meaning, onclick) => (
  element("button", { type: "button", "aria-label": `${text}: ${meaning}`, onclick }, text));
