// The page: three views, each with an address. A view stays until the next one is complete.

import { fetchJson } from "./api.js";
import { acceptFiles } from "./drop.js";
import { byId, element } from "./element.js";
import * as libraryView from "./library-view.js";
import * as modelView from "./model-view.js";
import { currentQuery, navigate, replaceAddress, start } from "./navigation.js";
import { clearNotice, isTemporary, showError } from "./notice.js";
import { EMPTY, isEmpty } from "./query.js";
import { chooseFiles, showQueue } from "./queue.js";
import * as searchView from "./search-view.js";
import { upload } from "./upload.js";

/** Each fills `root`, at first with what shows while it waits; all of its requests end with `signal`. */
const VIEWS = { search: searchView.show, library: libraryView.show, model: modelView.show };
const TITLES = { search: "alexnet-server", library: "Library · alexnet-server", model: "Model · alexnet-server" };

let info = null;
let shown = null; // the view that was shown last without an error, and what it needs to live
let pending = null;
let failed = null; // the view that an error is shown about: it stays until another one comes

async function show(query, scroll = 0) {
  pending?.controller.abort();
  failed?.controller.abort();
  failed = null;
  for (const id of ["detail", "relabel"]) byId(id).close(); // they are about the view that goes
  const view = { query, root: element("div", { className: `view ${query.view}-view` }), controller: new AbortController() };
  const { root, controller: { signal } } = view;
  pending = view;
  if (shown) shown.scroll = scrollY;
  clearNotice();
  place(view, 0);
  try {
    if (!info || isEmpty(query)) info = await fetchJson("info", { signal }); // again: of a library that has changed, of another model
    await VIEWS[query.view]({ query, info, root, signal, cancel, scroll });
    if (signal.aborted) return;
    shown?.controller.abort();
    shown = view;
    showQueue(query, info.index); // a file that was chosen early came before the server's facts
    focusHeading(root);
    if (scroll) scrollTo(0, scroll);
  } catch (error) {
    if (!signal.aborted) await fail(error, view);
  } finally {
    if (pending === view) pending = null;
  }
}

/** After an error the page shows what it showed before; a chosen file stays while the search is tried again. */
async function fail(error, view) {
  failed = view;
  const keyMissing = [401, 403].includes(error.status);
  if (isTemporary(error) || keyMissing || !info) {
    if (shown && !view.query.sent.length) place(shown, shown.scroll);
    showError(error, () => show(currentQuery()));
  } else if (shown) {
    restore();
    showError(error);
  } else {
    replaceAddress(EMPTY);
    const isStart = view.query.view === "search" && isEmpty(view.query);
    const started = isStart ? null : show(EMPTY);
    showError(error); // at once: the start may be waiting, too
    await started;
  }
}

function cancel() {
  pending?.controller.abort();
  if (shown) restore();
  else navigate(EMPTY);
}

function restore() {
  replaceAddress(shown.query);
  place(shown, shown.scroll);
}

function place({ query, root }, scroll) {
  const refocus = byId("view").contains(document.activeElement);
  document.title = TITLES[query.view];
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === query.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("view").replaceChildren(root);
  showQueue(query, info?.index);
  scrollTo(0, scroll);
  if (refocus) byId("view").focus({ preventScroll: true });
}

/** What had the focus is gone: go on from the heading of what took its place. */
function focusHeading(root) {
  if (document.activeElement === byId("view")) root.querySelector("[tabindex='-1']")?.focus({ preventScroll: true });
}

acceptFiles({
  target: () => (pending ?? shown)?.query.view ?? currentQuery().view,
  onFiles: (files) => chooseFiles(files),
  onFolders: (files) => upload(files),
});
start(show);
