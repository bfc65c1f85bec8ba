// The start: what this page does, what the network knows, and images to try.

import { fetchJson, fetchLabels } from "./api.js";
import { startCard } from "./card.js";
import { classList, spread } from "./class-list.js";
import { button, byId, count, element, section, tidy } from "./element.js";
import { skeletonCards } from "./skeletons.js";

const EXAMPLES = 12;
const CONCURRENT_REQUESTS = 4;

export async function showStart({ query, info, root, signal }) {
  const known = element("section", { "aria-labelledby": "classes-heading" });
  const examples = info.index?.size
    ? section("examples-heading", query.label ? `Images labeled ${tidy(query.label)}` : "Or try one of these", skeletonCards(6))
    : null;
  root.replaceChildren(...[welcome(info), known, examples].filter(Boolean));
  root.classList.add("start");
  byId("status").textContent = "";
  const [{ classes }, labels] = await Promise.all([fetchJson("history", { signal }), fetchLabels(info, signal)]);
  known.replaceChildren(...classList(classes, labels));
  if (!examples) return;
  const entries = await exampleImages(query.label, classes, labels, info.index.size, signal).catch((error) => {
    if (error.name === "AbortError") throw error;
    return null; // the page is of use without them
  });
  if (!entries) {
    examples.remove();
    return;
  }
  if (!entries.length) examples.firstChild.textContent = `No image has the label ${tidy(query.label)}`;
  examples.lastChild.replaceWith(element("ol", { className: "images" }, ...entries.map((_, at) => startCard(entries, at))));
}

function welcome({ model, index, num_classes: classes }) {
  const searched = index?.size ? ` and finds the most similar of ${count(index.size, "image")}` : "";
  const choose = (text, input, properties) => button(text, () => byId(input).click(), properties);
  return element("section", { className: "welcome", "aria-labelledby": "welcome-heading" },
    element("h1", { id: "welcome-heading", tabIndex: -1 }, index?.size ? "Classify an image, find similar ones" : "Classify an image"),
    element("p", { className: "promise" }, "The network ", element("b", {}, model.name),
      ` classifies it as one of ${count(classes, "class", "classes")}${searched}. Your image isn't stored.`),
    element("div", { className: "drop-zone" },
      element("p", { className: "invitation fine" }, "Drop an image here"),
      element("div", { className: "row" }, choose("Choose images", "file", { className: "primary" }),
        choose("Take a photo", "camera", { className: "photograph" })),
      element("p", { className: "quiet fine" }, "or paste it. Several are classified one after another.")));
}

/** One image of each of several labels, those of the network's classes first; of one label its first images. */
async function exampleImages(label, classes, labels, size, signal) {
  const fetchPage = async (parameters) => (await fetchJson(`images?${new URLSearchParams(parameters)}`, { signal })).images;
  if (label) return fetchPage({ label, limit: EXAMPLES });
  const names = new Set(classes.flatMap(({ id, name }) => [id, name]));
  const known = labels.filter((counted) => names.has(counted.label));
  const chosen = spread(known.length ? known : labels, EXAMPLES);
  const pages = chosen.length > 1 ? chosen.map((counted) => ({ label: counted.label, limit: 1 }))
    : Array.from({ length: EXAMPLES }, (_, at) => ({ cursor: Math.floor((at * size) / EXAMPLES), limit: 1 }));
  const images = [];
  while (pages.length) images.push(...(await Promise.all(pages.splice(0, CONCURRENT_REQUESTS).map(fetchPage))).flat());
  return [...new Map(images.map((image) => [image.id, image])).values()];
}
