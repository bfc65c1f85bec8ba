// Dropped folders: the files inside them, each with the name of its folder, and the paths of what can't be read.

/** The dropped files, each `{file, folder}` or `{unreadable}`, or a promise of them. Call it while the drop event is handled. */
export function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
  return walk(entries, "");
}

/** The files of an input, each `{file, folder}`. */
export const inputFiles = (input) => [...input.files].map((file) => (
  { file, folder: file.webkitRelativePath.split("/").at(-2) ?? "" }));

async function walk(entries, folder) {
  const files = [];
  for (const entry of entries) {
    try {
      if (entry.isFile) files.push({ file: await new Promise((resolve, reject) => { entry.file(resolve, reject); }), folder });
      else if (!folder || !entry.name.startsWith(".")) files.push(...await walk(await readDirectory(entry), entry.name));
    } catch {
      files.push({ unreadable: entry.fullPath });
    }
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
