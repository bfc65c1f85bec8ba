// The image that is searched for: large, with its name.

import { fetchPreview } from "./api.js";
import { count, element } from "./element.js";
import { credit, entryName } from "./entry.js";
import { showBlob, showThumbnail } from "./server-image.js";

/** A file of the user, shown at once; what a browser can't show, the server draws. */
export function imageOfFile(file, signal) {
  const image = element("img", { alt: "Your image", className: "large" });
  showBlob(image, file).then((visible) => visible || drawByServer(image, file, signal));
  return figure(image, "Your image", file.name || "pasted image", bytes(file.size));
}

/** The thumbnail of an image of the library, until more is known. */
export function placeholder(id) {
  const image = element("img", { alt: "", className: "large" });
  showThumbnail(image, id);
  return image;
}

/** An image of the library. `file`: its original, or its thumbnail. */
export function imageOfEntry(entry, file) {
  const { id, format, width, height } = entry;
  const image = element("img", { alt: `Image ${id} of the library`, className: "large" });
  showBlob(image, file).then((visible) => visible || showThumbnail(image, id));
  const details = `${width.toLocaleString("en")} × ${height.toLocaleString("en")} ${format}`;
  const shown = figure(image, "Image of the library", entryName(entry), details);
  const credited = credit(entry);
  if (credited) shown.lastChild.append(credited);
  return shown;
}

function figure(image, title, name, details) {
  return element("figure", {}, element("h1", { id: "image-heading", className: "visually-hidden", tabIndex: -1 }, title), image,
    element("figcaption", {}, element("span", { className: "file", title: name }, name), element("small", {}, details)));
}

function bytes(size) {
  if (size < 1e3) return count(size, "byte");
  return size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

async function drawByServer(image, file, signal) {
  try {
    await showBlob(image, await fetchPreview(file, signal));
  } catch {
    image.classList.add("missing"); // the answer's own error is shown
  }
}
