// The page: three views, each with an address; dropped and pasted images go to the view that is open.

import { fetchJson } from "./api.js";
import { byId } from "./element.js";
import * as indexView from "./index-view.js";
import * as modelView from "./model-view.js";
import { currentQuery, start } from "./navigation.js";
import { clearNotice, showError } from "./notice.js";
import * as searchView from "./search-view.js";
import { droppedFiles, upload } from "./upload.js";

const VIEWS = { search: searchView.show, index: indexView.show, model: modelView.show };
const TITLES = { search: "alexnet-server", index: "Index · alexnet-server", model: "Model · alexnet-server" };

let info = null;
let pending = new AbortController();

async function show(query) {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  clearNotice();
  document.title = TITLES[query.view];
  for (const view of Object.keys(VIEWS)) {
    byId(view).hidden = view !== query.view;
    const link = document.querySelector(`[data-view=${view}]`);
    if (view === query.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    if (!info || query.view === "model") info = await fetchJson("info", { signal });
    await VIEWS[query.view](query, info, signal);
  } catch (error) {
    if (!signal.aborted) showError(error, () => show(query));
  }
}

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    if (currentQuery().view === "index") upload(droppedFiles(event.dataTransfer));
    else searchView.searchFiles([...event.dataTransfer.files]);
  });
}

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (currentQuery().view === "index") upload(files.map((file) => ({ file, folder: "" })));
  else searchView.searchFiles(files);
});

start(show);
