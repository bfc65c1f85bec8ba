// Uploads to the index: files or whole folders, one request per file; files that fail are listed by name.

import { ApiError, fetchJson } from "./api.js";
import { byId, count, element } from "./element.js";
import { clearNotice, showError } from "./notice.js";

const CONCURRENT_UPLOADS = 2;
const FATAL_STATUSES = [0, 401, 403, 404, 409, 507]; // with these, every other file would fail too
const [progress, summary, stopButton, failures] = ["progress", "p", "button", "ul"]
  .map((name) => byId("upload-progress").querySelector(name));

let onUploaded = () => {};
let running = false;
let stopped = false;

/** `callback()`: called when images were added. */
export const whenUploaded = (callback) => { onUploaded = callback; };

stopButton.addEventListener("click", () => { stopped = true; });
byId("upload-form").addEventListener("submit", (event) => event.preventDefault());
for (const input of [byId("new-files"), byId("new-folder")]) {
  input.addEventListener("change", () => {
    upload([...input.files].map((file) => ({ file, folder: file.webkitRelativePath.split("/").at(-2) ?? "" })));
    input.value = "";
  });
}

/** Upload files, each `{file, folder}`, or a promise of them. The label is the typed one, else the folder's name. */
export async function upload(files) {
  if (running) return;
  running = true;
  stopped = false;
  clearNotice();
  const label = byId("new-label").value.trim();
  const queue = (await files).filter(({ file }) => !file.name.startsWith("."));
  const result = { total: queue.length, added: 0, existing: 0, failed: 0 };
  failures.replaceChildren();
  byId("upload-progress").hidden = !queue.length;
  stopButton.hidden = false;
  showProgress(result);
  const work = async () => {
    while (queue.length && !stopped) {
      const { file, folder } = queue.shift();
      await uploadFile(file, label || folder, result);
      showProgress(result);
    }
  };
  try {
    await Promise.all(Array.from({ length: CONCURRENT_UPLOADS }, work));
  } catch (error) {
    stopped = true;
    showError(error);
  }
  running = false;
  stopButton.hidden = true;
  onUploaded();
}

async function uploadFile(file, label, result) {
  const body = new FormData();
  body.append("image", file);
  if (label) body.append("label", label);
  try {
    const { images: [image] } = await fetchJson("images", { method: "POST", body });
    result[image.status === "exists" ? "existing" : "added"] += 1;
  } catch (error) {
    if (!(error instanceof ApiError) || FATAL_STATUSES.includes(error.status)) throw error;
    if (error.retryAfter !== null && !stopped) {
      await new Promise((resolve) => { setTimeout(resolve, 1000 * error.retryAfter); });
      await uploadFile(file, label, result);
      return;
    }
    result.failed += 1;
    failures.append(element("li", {}, element("b", {}, file.webkitRelativePath || file.name), ` ${error.message}`));
  }
}

function showProgress({ total, added, existing, failed }) {
  progress.max = total;
  progress.value = added + existing + failed;
  summary.textContent = `${added} of ${count(total, "image")} added`
    + (existing ? `, ${existing} already indexed` : "") + (failed ? `, ${failed} failed` : "") + ".";
}

/** The dropped files, those inside folders included. Call it while the drop event is handled. */
export function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
  return walk(entries, "");
}

async function walk(entries, folder) {
  const files = [];
  for (const entry of entries) {
    if (entry.isFile) files.push({ file: await new Promise((resolve, reject) => { entry.file(resolve, reject); }), folder });
    else files.push(...await walk(await readDirectory(entry), entry.name));
  }
  return files;
}

/** A reader returns entries in batches, and an empty batch at the end. */
async function readDirectory(directory) {
  const reader = directory.createReader();
  const entries = [];
  for (;;) {
    const batch = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!batch.length) return entries;
    entries.push(...batch);
  }
}
