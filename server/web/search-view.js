// The search view: classifies an image and finds the most similar ones.

import { ApiError, fetchJson, request, timings } from "./api.js";
import { markLabel, showClasses } from "./classes.js";
import { byId, element } from "./element.js";
import { currentQuery, navigate } from "./navigation.js";
import { showNeighbors, showStartImages, summary } from "./neighbors.js";
import { fetchPreview, hidePreview, showPreview, showThumbnail } from "./preview.js";
import { showChips } from "./query-chips.js";
import { isEmpty, queryByFiles, sentImages } from "./query.js";

const SAME_IMAGE_DISTANCE = 1e-3; // nearer than this is the same image
const START_IMAGES = 6;
const SENT_IMAGE = "Your image";

byId("label").addEventListener("change", () => navigate({ ...currentQuery(), label: byId("label").value }));
byId("mode").addEventListener("change", () => navigate({ ...currentQuery(), mode: byId("mode").value }));
for (const input of [byId("file"), byId("camera")]) {
  input.addEventListener("change", () => {
    searchFiles([...input.files]);
    input.value = "";
  });
}

/** Search with files: one query. */
export function searchFiles(files) {
  if (files.length) navigate(queryByFiles(currentQuery(), files));
}

/** Show a query. Throws ApiError. */
export async function show(query, info, signal) {
  if (byId("neighbors").contains(document.activeElement)) byId("image-heading").focus({ preventScroll: true });
  byId("results").hidden = !info.index;
  byId("mode-field").hidden = !info.index?.codes;
  byId("mode").value = query.mode;
  byId("status").textContent = "";
  if (isEmpty(query)) await showStart(query, info, signal);
  else await showResults(query, info, signal);
}

/** No image yet: some images of the index to start from. */
async function showStart(query, info, signal) {
  hidePreview();
  showChips(query);
  showClasses(null);
  markLabel("");
  if (!info.index) return;
  byId("neighbors-heading").textContent = "Or start from one of these";
  await showLabelFilter(query, signal);
  showStartImages(await sampleIndex(query.label, info.index.size, signal));
}

async function showResults(query, info, signal) {
  byId("results").setAttribute("aria-busy", "true");
  byId("neighbors-heading").textContent = "Most similar images";
  byId("status").textContent = "Searching …";
  try {
    const previews = await Promise.all(query.sent.map((number) => previewOf(number, signal)));
    showChips(query);
    await Promise.all(info.index
      ? [search(query, previews, signal), showLabelFilter(query, signal)]
      : [classify(previews[0], SENT_IMAGE, signal)]);
  } catch (error) {
    if (!signal.aborted) clearResults();
    throw error;
  } finally {
    byId("results").removeAttribute("aria-busy");
  }
}

function clearResults() {
  byId("status").textContent = "";
  showStartImages([]);
  hidePreview();
  showClasses(null);
  markLabel("");
}

/** Classes and neighbors at the same time; one after the other where the times of two searches are compared. */
async function search(query, previews, signal) {
  const classified = previews.length
    ? classify(previews[0], SENT_IMAGE, signal)
    : classifyIndexed(query.like[0], signal);
  if (query.mode === "both") await classified;
  const [label, list] = await Promise.all([classified, showNeighbors(query, previews, signal)]);
  const single = previews.length === 1 && !query.like.length && !query.unlike.length;
  if (single && list.nearest?.distance < SAME_IMAGE_DISTANCE) {
    markLabel(list.nearest.label, `is its label: it is image ${list.nearest.id} of the index.`);
  } else markLabel(label, "is its label in the index.");
  byId("status").textContent = summary();
}

/** The preview of a sent image, requested once. */
async function previewOf(number, signal) {
  const image = sentImages.get(number);
  image.preview ??= await fetchPreview(image.file, signal);
  return image.preview;
}

/** Show a preview and its classes. */
async function classify(preview, description, signal) {
  showPreview(preview, description);
  markLabel("");
  const headers = { "Content-Type": "image/png" };
  const response = await request("classify", { method: "POST", body: preview, headers, signal });
  showClasses((await response.json()).predictions, timings(response).inference);
}

/** The same for an indexed image; returns its label. Without its file only its thumbnail is shown. */
async function classifyIndexed(id, signal) {
  const { label } = await fetchJson(`images/${id}`, { signal });
  const description = `Image ${id} of the index`;
  try {
    await classify(await (await request(`images/${id}/preview`, { signal })).blob(), description, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    showThumbnail(id, description);
    showClasses(null);
  }
  return label;
}

async function showLabelFilter(query, signal) {
  const { labels } = await fetchJson("labels", { signal });
  const options = labels.map(({ label, images }) => (
    element("option", { value: label }, `${label} (${images.toLocaleString("en")})`)));
  byId("label").replaceChildren(element("option", { value: "" }, "any"), ...options);
  byId("label").value = query.label;
  byId("label-field").hidden = !labels.length;
}

/** Images of the index, evenly spread; of a label the first ones. */
async function sampleIndex(label, size, signal) {
  const fetchPage = (parameters) => fetchJson(`images?${new URLSearchParams(parameters)}`, { signal });
  const cursors = Array.from({ length: START_IMAGES }, (_, number) => Math.floor((number * size) / START_IMAGES));
  const pages = label
    ? [fetchPage({ label, limit: START_IMAGES })]
    : cursors.map((cursor) => fetchPage({ cursor, limit: 1 }));
  const images = (await Promise.all(pages)).flatMap((page) => page.images);
  return [...new Map(images.map((image) => [image.id, image])).values()];
}
