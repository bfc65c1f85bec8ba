// The API key: asked for when the server wants one, kept until the tab is closed.

import { byId } from "./element.js";

let asking = null;

export const key = () => sessionStorage.getItem("key") ?? "";

/** Ask for a key, with the server's reason; whether there is another than `used` now. One question at a time. */
export function askForKey(reason, used) {
  if (key() !== used) return Promise.resolve(true);
  asking ??= question(reason).finally(() => { asking = null; });
  return asking;
}

function question(reason) {
  const dialog = byId("key-dialog");
  byId("key-reason").textContent = reason;
  byId("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "use") sessionStorage.setItem("key", byId("key").value);
      resolve(dialog.returnValue === "use");
    }, { once: true });
  });
}
