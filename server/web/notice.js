// Notice above the page: an error, or something to undo. Errors that may pass are retried.

import { button, byId, element } from "./element.js";
import { errorText } from "./error-texts.js";

let countdown = 0;

export function clearNotice() {
  clearInterval(countdown);
  byId("notice").hidden = true;
  byId("notice").replaceChildren();
}

/** Whether the same request may succeed later, without the user's doing. */
export const isTemporary = (error) => error.status === 0 || Boolean(error.retryAfter) || error.status >= 500;

/**
 * Show an error. `retry`: what to do again, by a button or after a while, if that may help.
 * `action`: a name and a function, offered as another button.
 */
export function showError(error, retry = null, action = null) {
  if (error.name === "AbortError") return;
  if (error.status === undefined) console.error(error);
  const notice = open("error", errorText(error));
  if (action) notice.append(actionButton(action));
  const keyMissing = [401, 403].includes(error.status); // the user may have a key by now
  if (!retry || !(isTemporary(error) || keyMissing)) return;
  const tryAgain = () => { clearNotice(); retry(); };
  const remaining = element("span", { "aria-hidden": "true" }); // a screen reader would read every second
  notice.append(remaining, button("Try now", tryAgain));
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

/** Say something that isn't an error. `action`: a name and a function, offered as a button. */
export function showMessage(text, action = null) {
  const notice = open("message", text);
  if (!action) return;
  const offered = actionButton(action);
  notice.append(offered);
  offered.focus({ preventScroll: true });
}

const actionButton = ([name, work]) => button(name, () => { clearNotice(); work(); });

/** Close it by its button: the focus goes to the view. */
function close() {
  clearNotice();
  document.querySelector("#view [tabindex='-1']")?.focus({ preventScroll: true });
}

function open(kind, text) {
  clearNotice();
  const notice = byId("notice");
  notice.className = kind;
  notice.hidden = false;
  notice.append(element("span", { className: "text" }, text),
    button("×", close, { className: "close", "aria-label": "Close this message" }));
  return notice;
}
