// The image as the network sees it (256 x 256), and the ten crops whose average is the answer. Loaded on demand.

import { fetchPreview } from "./api.js";
import { element, quiet } from "./element.js";
import { showError } from "./notice.js";
import { showBlob } from "./server-image.js";

const CROP_SIZE = 224;
const CROPS = [
  ["top left", 0, 0], ["top right", 32, 0], ["bottom left", 0, 32], ["bottom right", 32, 32], ["center", 16, 16],
];

export function networkView(file) {
  const content = element("div");
  const details = element("details", { className: "network-view" }, element("summary", {}, "What the network sees"), content);
  details.addEventListener("toggle", async () => {
    if (!details.open || content.hasChildNodes()) return;
    try {
      const image = element("img", { alt: "The image as the network sees it", width: 256, height: 256 });
      await showBlob(image, await fetchPreview(file));
      content.replaceChildren(image,
        quiet("The center square, in the detail that the network uses, and its ten crops. The answer is the average of theirs."),
        element("div", { className: "crops" }, ...drawCrops(image)));
    } catch (error) {
      details.open = false;
      showError(error);
    }
  });
  return details;
}

function drawCrops(image) {
  return [false, true].flatMap((mirrored) => CROPS.map(([place, left, top]) => {
    const name = mirrored ? `${place}, mirrored` : place;
    const canvas = element("canvas", { width: CROP_SIZE, height: CROP_SIZE, role: "img", "aria-label": name, title: name });
    const context = canvas.getContext("2d");
    if (mirrored) context.setTransform(-1, 0, 0, 1, CROP_SIZE, 0);
    context.drawImage(image, left, top, CROP_SIZE, CROP_SIZE, 0, 0, CROP_SIZE, CROP_SIZE);
    return canvas;
  }));
}
