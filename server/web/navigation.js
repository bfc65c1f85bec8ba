// Navigation: the address of the page, the browser's history, and links between queries.

import { parseAddress, toAddress } from "./query.js";

let onNavigate;

export const currentQuery = () => parseAddress(location.search, history.state);

/** `callback(query)`: called for the current address, and after every link, back or forward. */
export function start(callback) {
  onNavigate = callback;
  addEventListener("popstate", () => onNavigate(currentQuery()));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.origin !== location.origin || link.pathname !== location.pathname) return;
    event.preventDefault();
    navigate(parseAddress(link.search, null));
  });
  onNavigate(currentQuery());
}

/** Show a query; the back button returns to the one before. */
export function navigate(query) {
  history.pushState({ sent: query.sent }, "", toAddress(query));
  scrollTo({ top: 0 });
  onNavigate(query);
}
