// Where the page is: the address, the browser's history, and going elsewhere.

import { address, read } from "./query.js";

let arrive;

export const here = () => read(location.search, history.state);

/** `callback(query)`: called at every arrival, by a link, back or forward. */
export function start(callback) {
  arrive = callback;
  addEventListener("popstate", () => arrive(here()));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.origin !== location.origin || link.pathname !== location.pathname) return;
    event.preventDefault();
    go(read(link.search, null));
  });
  arrive(here());
}

/** Show a query; back leads to the one before. */
export function go(query) {
  history.pushState({ sent: query.sent }, "", address(query));
  scrollTo({ top: 0 });
  arrive(query);
}
