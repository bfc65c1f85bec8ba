// The index view: labels with their counts, images page by page.

import { fetchJson } from "./api.js";
import { byId, count, element } from "./element.js";
import { indexEntry } from "./index-entry.js";
import { InfiniteScroll } from "./infinite-scroll.js";
import { currentQuery } from "./navigation.js";
import { showError } from "./notice.js";
import { toAddress } from "./query.js";
import { whenUploaded } from "./upload.js";

const PAGE_SIZE = 60;

let cursor = 0;
const scroll = new InfiniteScroll(byId("more-entries"), loadPage);
whenUploaded(() => currentQuery().view === "index" && show(currentQuery()).catch((error) => showError(error)));

/** Show the images with the query's label, or all. Throws ApiError. */
export async function show(query) {
  cursor = 0;
  byId("entries").replaceChildren();
  await showLabels();
  scroll.reset(await loadPage());
}

async function loadPage() {
  const { label } = currentQuery();
  const parameters = new URLSearchParams({ cursor, limit: PAGE_SIZE });
  if (label) parameters.set("label", label);
  const { images, next_cursor: next } = await fetchJson(`images?${parameters}`);
  byId("entries").append(...images.map((image) => indexEntry(image, showLabels)));
  cursor = next;
  return next !== null;
}

async function showLabels() {
  const [{ labels }, { index }] = await Promise.all([fetchJson("labels"), fetchJson("images?limit=1")]);
  const query = currentQuery();
  const item = (label, name, images) => {
    const link = element("a", { href: toAddress({ ...query, label }) }, name);
    if (label === query.label) link.setAttribute("aria-current", "true");
    return element("li", {}, link, element("span", {}, images.toLocaleString("en")));
  };
  byId("labels").replaceChildren(item("", "all", index.size),
    ...labels.map(({ label, images }) => item(label, label, images)));
  byId("known-labels").replaceChildren(...labels.map(({ label }) => element("option", { value: label })));
  byId("entries-heading").textContent = query.label
    ? `${query.label}: ${count(labels.find(({ label }) => label === query.label)?.images ?? 0, "image")}`
    : count(index.size, "image");
}
