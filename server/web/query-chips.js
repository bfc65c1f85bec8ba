// Query chips: the images of a query of more than one; each can be removed.

import { showBlob, showImage } from "./api.js";
import { byId, count, element } from "./element.js";
import { navigate } from "./navigation.js";
import { EMPTY, examples, isEmpty, sentImages, without } from "./query.js";

export function showChips(query) {
  const all = examples(query);
  byId("image-heading").textContent = heading(all.length);
  byId("query-chips").hidden = all.length < 2;
  byId("query-chips").replaceChildren(...all.map((example) => chip(query, example)));
}

function heading(images) {
  if (!images) return "Your image";
  return images === 1 ? "As the network sees it" : `A query of ${count(images, "image")}`;
}

function chip(query, { kind, number }) {
  const negative = kind === "unlike";
  const name = kind === "sent" ? "the uploaded image" : `image ${number}`;
  const image = element("img", { alt: `${negative ? "less" : "more"} like ${name}`, width: 48, height: 48 });
  if (kind === "sent") showBlob(image, sentImages.get(number).preview ?? sentImages.get(number).file);
  else showImage(image, `images/${number}/thumbnail`);
  const rest = without(query, { kind, number });
  const remove = () => navigate(isEmpty(rest) ? EMPTY : rest);
  return element("li", { className: negative ? "negative" : "" },
    element("span", { "aria-hidden": "true" }, negative ? "−" : "+"), image,
    element("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, "×"));
}
