// The page: three crops, one address each; images that are dropped or pasted go to the view that is open.

import { askJson } from "./api.js";
import * as adding from "./adding.js";
import * as browse from "./browse.js";
import { byId } from "./element.js";
import * as model from "./model.js";
import { here, start } from "./navigation.js";
import { clear, explain } from "./notice.js";
import * as search from "./search.js";

const VIEWS = { search: search.show, index: browse.show, model: model.show };
const TITLES = { search: "alexnet-server", index: "Index · alexnet-server", model: "Model · alexnet-server" };

let info = null;
let under = new AbortController();

async function arrive(query) {
  under.abort();
  under = new AbortController();
  const { signal } = under;
  clear();
  document.title = TITLES[query.view];
  for (const view of Object.keys(VIEWS)) {
    byId(view).hidden = view !== query.view;
    const link = document.querySelector(`[data-view=${view}]`);
    if (view === query.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    if (!info || query.view === "model") info = await askJson("info", { signal });
    await VIEWS[query.view](query, info, signal);
  } catch (error) {
    if (!signal.aborted) explain(error, () => arrive(query));
  }
}

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    if (here().view === "index") adding.receive(adding.dropped(event.dataTransfer));
    else search.receive([...event.dataTransfer.files]);
  });
}

document.addEventListener("paste", (event) => {
  if (here().view === "index") adding.receive([...event.clipboardData.files].map((file) => ({ file, folder: "" })));
  else search.receive([...event.clipboardData.files]);
});

start(arrive);
