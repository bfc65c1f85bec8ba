// Uploads to the library: files or whole folders, one request per file; files that fail are listed by name, hidden ones left out.

import { ApiError, fetchJson } from "./api.js";
import { button, count, element, isWide } from "./element.js";
import { errorText } from "./error-texts.js";
import { inputFiles } from "./folders.js";
import { clearNotice, showError, showMessage } from "./notice.js";
import { wait } from "./wait.js";

const CONCURRENT_UPLOADS = 2;
const SYSTEM_FILES = ["thumbs.db", "desktop.ini"];
const FATAL_STATUSES = [0, 401, 403, 404, 409, 507]; // with these, every other file would fail too

let onUploaded = async () => {};
let running = null; // an AbortController of the uploads in flight

const label = element("input", { list: "known-labels", maxLength: 200, placeholder: "the folder's name", autocomplete: "off" });
const bar = element("progress", { "aria-label": "Images added", value: 0 });
const summary = element("p");
const spoken = element("p", { className: "visually-hidden", role: "status" }); // not every image
const failures = element("ul", { className: "failures", "aria-label": "Files that were not added" });
const stop = button("Cancel", () => running?.abort());
const again = button("", () => upload(failed), { hidden: true });
const progress = element("div", { className: "upload-progress", hidden: true }, bar, summary, spoken, stop, failures, again);
const panel = element("details", { className: "upload", open: isWide() }, element("summary", {}, element("h2", {}, "Add images")),
  element("p", { className: "quiet fine" }, "Drop files or a folder anywhere on this page, or"),
  element("div", { className: "row" }, chooser("Choose files", { multiple: true }), chooser("Choose a folder", { webkitdirectory: true })),
  element("label", { className: "field" }, "Label ", label), progress);
let failed = [];

/** The panel, which lives as long as the page: an upload goes on while another view is open. */
export const uploadPanel = () => panel;

/** `callback()`: called when images were added; returns a promise. */
export const whenUploaded = (callback) => { onUploaded = callback; };

function chooser(text, properties) {
  const input = element("input", { type: "file", hidden: true, ...properties });
  input.addEventListener("change", () => {
    upload(inputFiles(input));
    input.value = "";
  });
  return element("span", {}, button(text, () => input.click()), input);
}

/** Upload files, each `{file, folder}` or `{unreadable}`, or a promise of them. The label is the typed one, else the folder's name. */
export async function upload(files) {
  if (running) {
    showMessage("An upload is running. Add these files when it has finished.");
    return;
  }
  running = new AbortController();
  const { signal } = running;
  clearNotice();
  try {
    await uploadAll(await files, signal);
  } catch (error) {
    running.abort();
    showError(error);
  }
  if (signal.aborted) summary.textContent += ` Stopped; ${count(bar.max - bar.value, "file")} not sent.`;
  again.textContent = signal.aborted ? "Send the rest" : "Try failed files again";
  running = null;
  spoken.textContent = summary.textContent;
  stop.hidden = true;
  again.hidden = !failed.length;
  onUploaded().catch(showError);
}

addEventListener("beforeunload", (event) => {
  if (running) event.preventDefault(); // the browser asks
});

async function uploadAll(items, signal) {
  const unreadable = items.filter((item) => item.unreadable);
  const queue = items.filter(({ file }) => file && !isHidden(file));
  const result = { total: queue.length + unreadable.length, added: 0, existing: 0, failed: unreadable.length };
  failures.replaceChildren(...unreadable.map((item) => element("li", {},
    `“${item.unreadable}” can't be read. Check that it's still there and that you may open it, then add it again.`)));
  failed = [];
  progress.hidden = !result.total;
  panel.open ||= result.total > 0;
  if (!result.total) showMessage("There are no files in this folder, or only hidden ones.");
  again.hidden = true;
  stop.hidden = false;
  showProgress(result);
  const work = async () => {
    while (queue.length && !signal.aborted) {
      await uploadFile(queue.shift(), result, signal);
      if (!signal.aborted) showProgress(result);
    }
  };
  try {
    await Promise.all(Array.from({ length: CONCURRENT_UPLOADS }, work));
  } finally {
    failed.push(...queue.splice(0));
  }
}

/** A file that systems put beside images, or that is in a hidden folder, as `alexnet index add` leaves them out. */
const isHidden = ({ name, webkitRelativePath: path }) => SYSTEM_FILES.includes(name.toLowerCase())
  || (path ? path.split("/").slice(1) : [name]).some((part) => part.startsWith("."));

async function uploadFile(item, result, signal) {
  const { file, folder } = item;
  const body = new FormData();
  body.append("image", file);
  const given = label.value.trim() || folder.trim();
  if (given) body.append("label", given);
  try {
    const { images: [image] } = await fetchJson("images", { method: "POST", body, signal });
    result[image.status === "exists" ? "existing" : "added"] += 1;
  } catch (error) {
    if (!(error instanceof ApiError) || FATAL_STATUSES.includes(error.status)) {
      failed.push(item);
      if (error.name === "AbortError") return;
      throw error;
    }
    if (error.retryAfter !== null && !signal.aborted) {
      showProgress(result, ` ${errorText(error)} Trying again …`);
      await wait(error.retryAfter, signal);
      await uploadFile(item, result, signal);
      return;
    }
    result.failed += 1;
    failed.push(item);
    const name = `“${file.webkitRelativePath || file.name}”`;
    const text = errorText(error, name);
    failures.append(element("li", {}, text.includes(name) ? text : `${name}: ${text}`));
  }
}

function showProgress({ total, added, existing, failed: bad }, more = "") {
  bar.max = total;
  bar.value = added + existing + bad;
  const number = (value) => value.toLocaleString("en");
  summary.textContent = `${number(added)} of ${count(total, "image")} added`
    + `${existing ? `, ${number(existing)} already there` : ""}${bad ? `, ${number(bad)} failed` : ""}.${more}`;
  const tenth = Math.floor((10 * bar.value) / (total || 1));
  if (tenth !== Number(bar.dataset.tenth)) spoken.textContent = summary.textContent;
  bar.dataset.tenth = tenth;
}
