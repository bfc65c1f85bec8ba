// What a query is made of, where that is more than one image; each part can be taken out.

import { showBlob, showImage } from "./api.js";
import { byId, count, element } from "./element.js";
import { go } from "./navigation.js";
import { EMPTY, isEmpty, parts, sent, without } from "./query.js";

export function show(query) {
  const all = parts(query);
  byId("image-heading").textContent = heading(all.length);
  byId("parts").hidden = all.length < 2;
  byId("parts").replaceChildren(...all.map((part) => item(query, part)));
}

function heading(images) {
  if (!images) return "Your image";
  return images === 1 ? "As the network sees it" : `A query of ${count(images, "image")}`;
}

function item(query, { kind, number }) {
  const away = kind === "unlike";
  const name = kind === "sent" ? "the image that was sent" : `image ${number}`;
  const image = element("img", { alt: `${away ? "less" : "more"} like ${name}`, width: 48, height: 48 });
  if (kind === "sent") showBlob(image, sent.get(number).square ?? sent.get(number).file);
  else showImage(image, `images/${number}/thumbnail`);
  const rest = without(query, { kind, number });
  const takeOut = () => go(isEmpty(rest) ? EMPTY : rest);
  return element("li", { className: away ? "away" : "" },
    element("span", { "aria-hidden": "true" }, away ? "−" : "+"), image,
    element("button", { type: "button", "aria-label": `Take out ${name}`, onclick: takeOut }, "×"));
}
