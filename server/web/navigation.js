// Navigation: the address of the page, the browser's history, and links between queries.

import { parseAddress, toAddress } from "./query.js";

let onNavigate;

export const currentQuery = () => parseAddress(location.search, history.state);

/** `callback(query, scroll)`: called for the current address, and after every link, back or forward. */
export function start(callback) {
  onNavigate = callback;
  history.scrollRestoration = "manual";
  addEventListener("scrollend", () => history.replaceState({ ...history.state, scroll: scrollY }, ""));
  addEventListener("popstate", () => onNavigate(currentQuery(), history.state?.scroll ?? 0));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.target || link.origin !== location.origin || link.pathname !== location.pathname) return;
    event.preventDefault();
    if (event.detail < 2) navigate(parseAddress(link.search, null)); // a double click's second may meet another link
  });
  onNavigate(currentQuery(), 0);
}

/** Show a query; the back button returns to the one before, where it was scrolled to. One that is shown is shown anew. */
export function navigate(query) {
  const isShown = JSON.stringify(query) === JSON.stringify(currentQuery());
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  if (isShown) replaceAddress(query);
  else history.pushState({ sent: query.sent }, "", toAddress(query));
  onNavigate(query, 0);
}

export const replaceAddress = (query) => history.replaceState({ sent: query.sent }, "", toAddress(query));
