// The preview, the image as the network sees it (256 x 256), and its ten crops.

import { request, showBlob, showImage } from "./api.js";
import { byId, element } from "./element.js";

const CROP_SIZE = 224;
const CROPS = [
  ["top left", 0, 0], ["top right", 32, 0], ["bottom left", 0, 32], ["bottom right", 32, 32], ["center", 16, 16],
];

/** The preview of a file, as a PNG. */
export async function fetchPreview(file, signal) {
  const headers = { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
  return (await request("preview", { method: "POST", body: file, headers, signal })).blob();
}

/** No image: show the invitation. */
export function hidePreview() {
  byId("preview").hidden = byId("crops").hidden = true;
  byId("invitation").hidden = false;
}

/** Show a preview; its ten crops are drawn when they are opened. */
export function showPreview(blob, description) {
  const image = prepareImage(description);
  byId("crops").hidden = false;
  const loaded = showBlob(image, blob);
  const crops = byId("crops");
  const draw = () => crops.open && loaded.then(() => crops.querySelector("div").replaceChildren(...drawCrops(image)));
  crops.ontoggle = draw;
  draw();
}

/** Show the thumbnail of an indexed image whose file is gone. */
export function showThumbnail(id, description) {
  byId("crops").hidden = true;
  showImage(prepareImage(description), `images/${id}/thumbnail`);
}

function prepareImage(description) {
  byId("invitation").hidden = true;
  const image = byId("preview");
  image.alt = description;
  image.hidden = false;
  return image;
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
