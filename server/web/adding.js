// Images added to the index: files or whole folders, one request each, what goes wrong named file by file.

import { askJson, Refusal } from "./api.js";
import { byId, count, element } from "./element.js";
import { clear, explain } from "./notice.js";

const AT_ONCE = 2;
const ALL_THE_SAME = [0, 401, 403, 404, 409, 507]; // what one file is refused for with these, all are
const [bar, told, stop, faults] = ["progress", "p", "button", "ul"].map((name) => byId("added").querySelector(name));

let done = () => {};
let running = false;
let stopped = false;

/** `callback()`: called when images were added. */
export const whenDone = (callback) => { done = callback; };

stop.addEventListener("click", () => { stopped = true; });
byId("adding").addEventListener("submit", (event) => event.preventDefault());
for (const input of [byId("new-files"), byId("new-folder")]) {
  input.addEventListener("change", () => {
    receive([...input.files].map((file) => ({ file, folder: file.webkitRelativePath.split("/").at(-2) ?? "" })));
    input.value = "";
  });
}

/** Add files, each `{file, folder}`, or a promise of them. The label is what was typed, or else the folder's name. */
export async function receive(files) {
  if (running) return;
  running = true;
  stopped = false;
  clear();
  const label = byId("new-label").value.trim();
  const waiting = (await files).filter(({ file }) => !file.name.startsWith("."));
  const result = { total: waiting.length, added: 0, known: 0, refused: 0 };
  faults.replaceChildren();
  byId("added").hidden = !waiting.length;
  stop.hidden = false;
  tell(result);
  const work = async () => {
    while (waiting.length && !stopped) {
      const { file, folder } = waiting.shift();
      await add(file, label || folder, result);
      tell(result);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    stopped = true;
    explain(error);
  }
  running = false;
  stop.hidden = true;
  done();
}

async function add(file, label, result) {
  const body = new FormData();
  body.append("image", file);
  if (label) body.append("label", label);
  try {
    const { images: [image] } = await askJson("images", { method: "POST", body });
    result[image.status === "exists" ? "known" : "added"] += 1;
  } catch (error) {
    if (!(error instanceof Refusal) || ALL_THE_SAME.includes(error.status)) throw error;
    if (error.retryAfter !== null && !stopped) {
      await new Promise((resume) => { setTimeout(resume, 1000 * error.retryAfter); });
      await add(file, label, result);
      return;
    }
    result.refused += 1;
    faults.append(element("li", {}, element("b", {}, file.webkitRelativePath || file.name), ` ${error.message}`));
  }
}

function tell({ total, added, known, refused }) {
  bar.max = total;
  bar.value = added + known + refused;
  told.textContent = `${added} of ${count(total, "image")} added`
    + (known ? `, ${known} there already` : "") + (refused ? `, ${refused} refused` : "") + ".";
}

/** The files that are dropped, folders and what is in them too. To be called while the event is handled. */
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
  return walk(entries, "");
}

async function walk(entries, folder) {
  const found = [];
  for (const entry of entries) {
    if (entry.isFile) found.push({ file: await new Promise((resolve, reject) => { entry.file(resolve, reject); }), folder });
    else found.push(...await walk(await contents(entry), entry.name));
  }
  return found;
}

/** A reader gives some at a time, then none. */
async function contents(directory) {
  const reader = directory.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return found;
    found.push(...some);
  }
}
