// The API key: the page asks for it when the server requires one, and keeps it in its tab.

import { byId } from "./element.js";

const FORBIDDEN = ["This key can't do that", "It can view the library, but not change it. Enter a key that can."];
const UNKNOWN = ["This server doesn't know that key", "Check it for a missing or extra character, and try again."];
const MISSING = ["This server needs an API key", "Ask whoever runs the server for one."];

let prompt = null;

export const getKey = () => sessionStorage.getItem("key") ?? "";

/** Ask for a key after the error `code`; resolves to whether it differs from `used`. One dialog at a time. */
export function promptForKey(code, used) {
  if (getKey() !== used) return Promise.resolve(true);
  let texts = used ? UNKNOWN : MISSING;
  if (code === "forbidden") texts = FORBIDDEN;
  prompt ??= openDialog(texts).finally(() => { prompt = null; });
  return prompt;
}

function openDialog([title, reason]) {
  const dialog = byId("key-dialog");
  byId("key-heading").textContent = title;
  byId("key-reason").textContent = reason;
  byId("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  byId("key").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "use") sessionStorage.setItem("key", byId("key").value.trim());
      resolve(dialog.returnValue === "use");
    }, { once: true });
  });
}
