// The view that names an image and finds those most like it.

import { ask, askJson, Refusal, times } from "./api.js";
import * as classes from "./classes.js";
import { byId, element } from "./element.js";
import * as neighbors from "./neighbors.js";
import { go, here } from "./navigation.js";
import * as parts from "./parts.js";
import * as image from "./image.js";
import { fromFiles, isEmpty, sent } from "./query.js";

const SAME = 1e-3; // nearer than this is the same image
const OFFERED = 6;

byId("label").addEventListener("change", () => go({ ...here(), label: byId("label").value }));
byId("method").addEventListener("change", () => go({ ...here(), method: byId("method").value }));
for (const input of [byId("file"), byId("camera")]) {
  input.addEventListener("change", () => {
    receive([...input.files]);
    input.value = "";
  });
}

/** Files to search with: one query. */
export function receive(files) {
  if (files.length) go(fromFiles(here(), files));
}

/** Show a query. Raises Refusal. */
export async function show(query, info, signal) {
  if (byId("neighbors").contains(document.activeElement)) byId("image-heading").focus({ preventScroll: true });
  byId("found").hidden = !info.index;
  byId("method-field").hidden = !info.index?.codes;
  byId("method").value = query.method;
  byId("status").textContent = "";
  if (isEmpty(query)) await begin(query, info, signal);
  else await answer(query, info, signal);
}

/** No image yet: some of the index to start from. */
async function begin(query, info, signal) {
  image.showNone();
  parts.show(query);
  classes.show(null);
  classes.mark("");
  if (!info.index) return;
  byId("neighbors-heading").textContent = "Or start from one of these";
  await showLabels(query, signal);
  neighbors.offer(await spread(query.label, info.index.size, signal));
}

async function answer(query, info, signal) {
  byId("found").setAttribute("aria-busy", "true");
  byId("neighbors-heading").textContent = "Most similar images";
  byId("status").textContent = "Looking …";
  try {
    const squares = await Promise.all(query.sent.map((number) => square(number, signal)));
    parts.show(query);
    await Promise.all(info.index
      ? [find(query, squares, signal), showLabels(query, signal)]
      : [name(squares[0], "The image that was sent", signal)]);
  } catch (error) {
    if (!signal.aborted) showNothing();
    throw error;
  } finally {
    byId("found").removeAttribute("aria-busy");
  }
}

/** Nothing of this query, and nothing of the one before. */
function showNothing() {
  byId("status").textContent = "";
  neighbors.offer([]);
  image.showNone();
  classes.show(null);
  classes.mark("");
}

/** Classes and neighbors, at the same time; one after the other where two searches are compared by their times. */
async function find(query, squares, signal) {
  const naming = squares.length
    ? name(squares[0], "The image that was sent", signal)
    : nameIndexed(query.like[0], signal);
  if (query.method === "both") await naming;
  const [label, list] = await Promise.all([naming, neighbors.show(query, squares, signal)]);
  const alone = squares.length === 1 && !query.like.length && !query.unlike.length;
  if (alone && list.nearest?.distance < SAME) {
    classes.mark(list.nearest.label, `is its label: it is image ${list.nearest.id} of the index.`);
  } else classes.mark(label, "is its label in the index.");
  byId("status").textContent = neighbors.summary();
}

/** A sent image's square, asked for once. */
async function square(number, signal) {
  const kept = sent.get(number);
  kept.square ??= await image.squareOf(kept.file, signal);
  return kept.square;
}

/** Show a square and its classes. */
async function name(blob, description, signal) {
  image.showSquare(blob, description);
  classes.mark("");
  const headers = { "Content-Type": "image/png" };
  const response = await ask("classify", { method: "POST", body: blob, headers, signal });
  classes.show((await response.json()).predictions, times(response).inference);
}

/** The same for an image of the index; its label. Without its file only its thumbnail is left. */
async function nameIndexed(id, signal) {
  const { label } = await askJson(`images/${id}`, { signal });
  const description = `Image ${id} of the index`;
  try {
    await name(await (await ask(`images/${id}/square`, { signal })).blob(), description, signal);
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 404) throw error;
    image.showThumbnail(id, description);
    classes.show(null);
  }
  return label;
}

async function showLabels(query, signal) {
  const { labels } = await askJson("labels", { signal });
  const options = labels.map(({ label, images }) => (
    element("option", { value: label }, `${label} (${images.toLocaleString("en")})`)));
  byId("label").replaceChildren(element("option", { value: "" }, "any"), ...options);
  byId("label").value = query.label;
  byId("label-field").hidden = !labels.length;
}

/** Some images of the index, evenly spread; of a label the first. */
async function spread(label, size, signal) {
  const page = (parameters) => askJson(`images?${new URLSearchParams(parameters)}`, { signal });
  const places = Array.from({ length: OFFERED }, (_, place) => Math.floor((place * size) / OFFERED));
  const pages = label
    ? [page({ label, limit: OFFERED })]
    : places.map((cursor) => page({ cursor, limit: 1 }));
  const images = (await Promise.all(pages)).flatMap((found) => found.images);
  return [...new Map(images.map((entry) => [entry.id, entry])).values()];
}
