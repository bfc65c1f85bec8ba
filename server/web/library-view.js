// The library: its images page by page, by label; add, relabel and delete images.

import { fetchJson, fetchLabels } from "./api.js";
import { byId, count, element, tidy } from "./element.js";
import { loadTo, moreButton } from "./infinite-scroll.js";
import { LibraryCards } from "./library-cards.js";
import { labelList, showKnownLabels } from "./label-list.js";
import { skeletonCards } from "./skeletons.js";
import { uploadPanel, whenUploaded } from "./upload.js";

const PAGE_SIZE = 60;

export async function show({ query, info, root, signal, scroll }) {
  byId("status").textContent = "";
  if (!info.index) {
    root.replaceChildren(noLibrary());
    return;
  }
  const heading = element("h1", { tabIndex: -1 }, "Library");
  const list = element("section", { "aria-label": "Images" }, heading, skeletonCards(24));
  const side = element("div", { className: "side" });
  root.replaceChildren(side, list);

  const labels = element("div");
  const all = element("a", { href: "?view=library", hidden: true }, "Show all images");
  let calls = 0;
  const showLabels = async () => {
    calls += 1;
    const call = calls;
    const filter = new URLSearchParams(query.label ? { limit: 1, label: query.label } : { limit: 1 });
    const [counted, { index, total }] = await Promise.all([fetchLabels(info, signal), fetchJson(`images?${filter}`, { signal })]);
    if (call < calls) return; // newer counts are on their way
    showKnownLabels(counted);
    labels.replaceChildren(labelList(counted, index.size, query));
    const missing = query.label && !total;
    heading.textContent = missing ? `No image has the label ${tidy(query.label)}`
      : `${query.label ? tidy(query.label) : "Library"}: ${count(total, "image")}`;
    all.hidden = !missing;
    empty.hidden = index.size > 0;
  };
  const empty = element("p", { hidden: true }, "The library is empty. Add images from your computer: choose them, or drop them here.");
  const cards = new LibraryCards(() => showLabels().catch(() => {}));
  let cursor = 0;
  const addPage = async () => {
    const page = new URLSearchParams({ cursor, limit: PAGE_SIZE, ...(query.label && { label: query.label }) });
    const { images, next_cursor: next } = await fetchJson(`images?${page}`, { signal });
    cards.add(images);
    cursor = next ?? images.at(-1)?.id ?? cursor;
    return next !== null;
  };
  const more = moreButton(addPage, signal);
  [, more.hidden] = await Promise.all([showLabels(), addPage().then((available) => !available)]);
  side.replaceChildren(uploadPanel(), labels);
  list.replaceChildren(element("div", { className: "row heading" }, heading, cards.toolbar), all, empty, cards.list, more);
  await loadTo(scroll, addPage, more);
  whenUploaded(async () => {
    if (signal.aborted) return;
    await showLabels();
    if (more.hidden) more.hidden = !(await addPage()); // new images are last
  });
}

function noLibrary() {
  return element("section", { className: "empty" }, element("h1", { tabIndex: -1 }, "There is no library yet"),
    element("p", {}, "A library is a collection of images to search. Build one from a folder, then restart the server:"),
    element("pre", { tabIndex: 0 }, "alexnet index add --data FOLDER\nalexnet serve"));
}
