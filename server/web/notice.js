// What goes wrong, said above the page; what may go right later is tried again.

import { byId, element } from "./element.js";

let countdown = 0;

/** Take back what was said. */
export function clear() {
  clearInterval(countdown);
  byId("notice").hidden = true;
  byId("notice").replaceChildren();
}

/** Say an error in its own words. `again`: what to do when there is hope, at once by a button or after a while. */
export function explain(error, again) {
  if (error.name === "AbortError") return;
  clear();
  const retry = () => { clear(); again(); };
  const notice = byId("notice");
  notice.hidden = false;
  notice.append(element("span", {}, error.message));
  if (error.status === undefined) console.error(error);
  const asked = [401, 403].includes(error.status); // for a key, which one may have by now
  if (!again || (error.status > 0 && error.status < 500 && !asked)) return;
  const remaining = element("span", { "aria-hidden": "true" }); // a reader would read every second
  notice.append(remaining, element("button", { type: "button", onclick: retry }, "Try now"));
  if (error.retryAfter === null || error.retryAfter === undefined) return;
  let left = error.retryAfter;
  const tell = () => { remaining.textContent = ` Trying again in ${left} s.`; };
  tell();
  countdown = setInterval(() => {
    left -= 1;
    if (left > 0) tell();
    else retry();
  }, 1000);
}
