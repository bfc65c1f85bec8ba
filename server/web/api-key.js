// The API key: the page asks for it when the server requires one, and keeps it until the tab is closed.

import { byId } from "./element.js";

let prompt = null;

export const getKey = () => sessionStorage.getItem("key") ?? "";

/** Prompt for a key, with the server's reason; resolves to whether the key is another than `used`. One prompt at a time. */
export function promptForKey(reason, used) {
  if (getKey() !== used) return Promise.resolve(true);
  prompt ??= openDialog(reason).finally(() => { prompt = null; });
  return prompt;
}

function openDialog(reason) {
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
