// Query chips: what the results are like and not like; each image can be taken out of the query.

import { button, element } from "./element.js";
import { navigate } from "./navigation.js";
import { EMPTY, examples, isEmpty, isSingle, sentImages, without } from "./query.js";
import { showThumbnail } from "./server-image.js";
import { drawSmall } from "./small-image.js";

let lastSent = null; // the user's image that the search began with

/** Elements above the results: the query's images if it has several, and the way back to the user's own. */
export function queryChips(query) {
  if (query.sent.length) lastSent = query.sent;
  if (isSingle(query)) return query.sent.length || !lastSent ? [] : [backLink()];
  const all = examples(query);
  const group = (text, negative) => {
    const chips = all.filter(({ kind }) => (kind === "unlike") === negative).map((example) => chip(query, example));
    return chips.length ? element("ul", { className: negative ? "negative" : "", "aria-label": text },
      element("li", { className: "quiet", "aria-hidden": "true" }, text), ...chips) : null;
  };
  return [element("div", { className: "query-chips" }, group("More like", false), group("Less like", true))];
}

function chip(query, { kind, number }) {
  const name = kind === "sent" ? sentImages.get(number).file.name || "your image" : `image ${number}`;
  const rest = without(query, { kind, number });
  const remove = () => navigate(isEmpty(rest) ? EMPTY : rest);
  return element("li", { className: "chip" }, smallImage(kind, number), element("span", { className: "file" }, name),
    button("×", remove, { "aria-label": `Remove ${name} from the query` }));
}

function smallImage(kind, number) {
  if (kind === "sent") {
    const canvas = element("canvas", { width: 80, height: 80, "aria-hidden": "true" });
    drawSmall(canvas, sentImages.get(number).file);
    return canvas;
  }
  const image = element("img", { alt: "", width: 40, height: 40 });
  showThumbnail(image, number);
  return image;
}

function backLink() {
  const sent = lastSent.filter((number) => sentImages.has(number));
  return element("p", { className: "query-chips" }, element("button", {
    type: "button", className: "chip", onclick: () => navigate({ ...EMPTY, sent }),
  }, smallImage("sent", sent[0]), "Back to your image"));
}
