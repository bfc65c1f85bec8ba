// Files from outside: dropped anywhere, pasted, or chosen with the page's two file inputs.

import { byId } from "./element.js";
import { showMessage } from "./notice.js";
import { droppedFiles } from "./folders.js";

const SEARCH = "Drop to classify it";
const ADD = "Drop to add to the library";
const ADDRESS = "This server doesn't download images from links. Save the image, then drop or choose the file.";

/**
 * `target()`: the view that is open; `onFiles(files)`: images to search with;
 * `onFolders(files)`: files to add to the library, each with its folder, or a promise of them.
 */
export function acceptFiles({ target, onFiles, onFolders }) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const overlay = byId("drop-overlay");
  let isOwn = false; // something of this page is dragged
  document.addEventListener("dragstart", () => { isOwn = true; });
  document.addEventListener("dragend", () => { isOwn = false; });
  const isText = (event) => !hasFiles(event) && event.target.closest?.("input, textarea");
  const show = (event) => {
    if (isText(event)) return; // the browser inserts it
    event.preventDefault();
    if (!hasFiles(event)) return;
    overlay.firstElementChild.textContent = target() === "library" ? ADD : SEARCH;
    overlay.hidden = false;
  };
  document.addEventListener("dragenter", show);
  document.addEventListener("dragover", show);
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) overlay.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (isText(event)) return;
    event.preventDefault();
    overlay.hidden = true;
    if (isOwn) return;
    if (target() === "library" && hasFiles(event)) onFolders(droppedFiles(event.dataTransfer));
    else take([...event.dataTransfer.files], event.dataTransfer.getData("text/uri-list"));
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea")) return;
    const files = [...event.clipboardData.files];
    if (target() === "library" && files.length) onFolders(files.map((file) => ({ file, folder: "" })));
    else take(files, event.clipboardData.getData("text/plain"));
  });
  for (const input of [byId("file"), byId("camera")]) {
    input.addEventListener("change", () => {
      take([...input.files], "");
      input.value = "";
    });
  }

  function take(files, text) {
    if (files.length) onFiles(files);
    else if (/^\s*https?:/i.test(text)) showMessage(ADDRESS);
  }
}
