// One image of the index view: search from it, edit its label, remove and restore it.

import { request, showImage, updateImage } from "./api.js";
import { element } from "./element.js";
import { clearNotice, showError } from "./notice.js";
import { EMPTY, toAddress } from "./query.js";

/** Its list item. `onChange()`: called when the counts of labels have changed. */
export function indexEntry({ id, label, file, width, height }, onChange) {
  const item = element("li");
  const attempt = async (work) => {
    try {
      clearNotice();
      await work();
      onChange();
    } catch (error) {
      showError(error);
    }
  };

  const show = (focused) => {
    const alt = `Image ${id}, ${width} × ${height}`;
    const image = element("img", { alt, width: 128, height: 128, loading: "lazy" });
    showImage(image, `images/${id}/thumbnail`);
    const link = element("a", { href: toAddress({ ...EMPTY, like: [id] }), title: "Find similar images" }, image,
      element("span", { className: "label" }, label ?? "no label"), element("small", { title: file ?? "" }, `image ${id}`));
    const edit = button("Edit", `label of image ${id}`, editLabel);
    const removal = button("Remove", `image ${id}`, remove);
    item.replaceChildren(link, element("div", { className: "row actions" }, edit, removal));
    if (focused) edit.focus();
  };

  const editLabel = () => {
    const input = element("input", {
      value: label ?? "", maxLength: 200, list: "known-labels", "aria-label": `Label of image ${id}`,
    });
    const form = element("form", { className: "row" }, input, element("button", {}, "Save"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(async () => {
        ({ label } = await updateImage(id, { label: input.value.trim() || null }));
        show(true);
      });
    });
    form.addEventListener("keydown", (event) => event.key === "Escape" && show(true));
    item.lastChild.replaceWith(form);
    input.select();
  };

  const remove = () => attempt(async () => {
    await request(`images/${id}`, { method: "DELETE" });
    const undo = button("Undo", `restore image ${id}`, () => attempt(async () => {
      await updateImage(id, { removed: false });
      show(true);
    }));
    item.replaceChildren(element("p", { className: "removed", role: "status" }, `Image ${id} was removed.`), undo);
    undo.focus();
  });

  show(false);
  return item;
}

const button = (text, meaning, onclick) => (
  element("button", { type: "button", "aria-label": `${text}: ${meaning}`, onclick }, text));
