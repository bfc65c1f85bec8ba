// Error notice above the page; errors that may be temporary are retried.

import { byId, element } from "./element.js";

let countdown = 0;

/** Remove the notice. */
export function clearNotice() {
  clearInterval(countdown);
  byId("notice").hidden = true;
  byId("notice").replaceChildren();
}

/** Show the message of an error. `retry`: what to do again, by a button or after a while, if that may help. */
export function showError(error, retry) {
  if (error.name === "AbortError") return;
  clearNotice();
  const tryAgain = () => { clearNotice(); retry(); };
  const notice = byId("notice");
  notice.hidden = false;
  notice.append(element("span", {}, error.message));
  if (error.status === undefined) console.error(error);
  const keyMissing = [401, 403].includes(error.status); // the user may have a key by now
  if (!retry || (error.status > 0 && error.status < 500 && !keyMissing)) return;
  const remaining = element("span", { "aria-hidden": "true" }); // a screen reader would read every second
  notice.append(remaining, element("button", { type: "button", onclick: tryAgain }, "Try now"));
  if (error.retryAfter === null || error.retryAfter === undefined) return;
  let seconds = error.retryAfter;
  const update = () => { remaining.textContent = ` Retrying in ${seconds} s.`; };
  update();
  countdown = setInterval(() => {
    seconds -= 1;
    if (seconds > 0) update();
    else tryAgain();
  }, 1000);
}
