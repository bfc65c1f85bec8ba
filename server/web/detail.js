// The detail view of a library image: its original, facts and actions.

import { fetchJson, request } from "./api.js";
import { getKey } from "./api-key.js";
import { copyText } from "./clipboard.js";
import { button, byId, element, terms, tidy } from "./element.js";
import { credit, entryName } from "./entry.js";
import { currentQuery, navigate } from "./navigation.js";
import { addNegative, addPositive, isEmpty, queryById, toAddress } from "./query.js";
import { showBlob, showImage, showThumbnail } from "./server-image.js";

const dialog = byId("detail");
let move = () => {};
let original = ""; // with an API key: an object URL of the original that was shown last

dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});

/** Show one of several entries. `actions(entry)`: buttons besides those that search. */
export function openDetail(entries, position, actions = () => []) {
  move = (by) => entries[position + by] && openDetail(entries, position + by, actions);
  const entry = entries[position];
  const image = element("img", { alt: [entryName(entry), entry.label].filter(Boolean).join(", ") });
  showThumbnail(image, entry.id);
  const facts = element("dl", {}, ...factsOf(entry));
  const open = element("a", { className: "button", target: "_blank", hidden: true }, "Open original");
  const copy = button("Copy link", () => copyText(addressOf(entry), copy));
  const step = (text, name, by) => button(text, () => move(by), { className: "step", "aria-label": name, disabled: !entries[position + by] });
  const focused = document.activeElement.getAttribute("aria-label");
  dialog.replaceChildren(
    element("div", { className: "frame" }, image, step("‹", "Previous image", -1), step("›", "Next image", 1)),
    element("div", { className: "about" }, element("h2", { id: "detail-heading" }, entryName(entry)), facts, credit(entry),
      element("div", { className: "choices" }, ...searches(entry), ...actions(entry), open, copy)),
    button("×", () => dialog.close(), { className: "close", "aria-label": "Close" }));
  if (!dialog.open) dialog.showModal();
  const again = [...dialog.querySelectorAll("button")].find((other) => other.ariaLabel === focused && !other.disabled);
  (again ?? dialog.querySelector(".close")).focus();
  complete(entry, image, facts, open).catch((error) => { // else the thumbnail and its label stay
    if (error.status === 404 && image.isConnected) showDeleted(facts);
  });
}

/** The original in place of the thumbnail, and what the list didn't know. */
async function complete(entry, image, facts, open) {
  const known = await fetchJson(`images/${entry.id}`);
  facts.replaceChildren(...factsOf(entry, known));
  if (!known.image) return;
  const path = `images/${entry.id}/image`;
  const large = element("img", { alt: image.alt });
  const file = getKey() ? await (await request(path)).blob() : null;
  const shown = await (file ? showBlob(large, file) : showImage(large, path));
  if (!shown || !image.isConnected) return; // a format that the browser doesn't show, or another image was opened
  URL.revokeObjectURL(original);
  original = file ? URL.createObjectURL(file) : "";
  image.replaceWith(large);
  open.href = original || path;
  open.hidden = false;
}

/** It was deleted elsewhere since it was listed. */
function showDeleted(facts) {
  facts.replaceChildren(...terms({ Deleted: "this image is no longer in the library" }));
  for (const action of dialog.querySelectorAll(".choices button")) action.disabled = true;
}

function factsOf({ id, label, similarity, distance }, known = null) {
  const facts = {
    Label: label ? tidy(label) : "none",
    Similarity: similarity === undefined ? null : `${similarity.toFixed(2)} (distance ${distance.toFixed(2)})`,
    Size: known && `${known.width.toLocaleString("en")} × ${known.height.toLocaleString("en")} ${known.format}`,
    Number: id,
    Original: known && !known.image ? "not kept: the image was uploaded" : null,
  };
  return terms(facts);
}

/** Search from it, or add it to the query. */
function searches({ id }) {
  const query = currentQuery();
  const go = (text, next, className = "") => button(text, () => { dialog.close(); navigate(next); }, { className });
  const searching = query.view === "search";
  const buttons = [go("Find similar images", queryById(searching ? query : { label: "", mode: "" }, id), "primary")];
  if (!searching || isEmpty(query)) return buttons;
  return [...buttons, go("More like this", addPositive(query, id)), go("Less like this", addNegative(query, id))];
}

const addressOf = ({ id }) => new URL(toAddress(queryById({ label: "", mode: "" }, id)), document.baseURI).href;
