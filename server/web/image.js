// The image as the network sees it: the square of 256 x 256, and the ten crops that are cut from it.

import { ask, showBlob, showImage } from "./api.js";
import { byId, element } from "./element.js";

const CROP = 224;
const PLACES = [
  ["top left", 0, 0], ["top right", 32, 0], ["bottom left", 0, 32], ["bottom right", 32, 32], ["center", 16, 16],
];

/** The square of a file, as a PNG. */
export async function squareOf(file, signal) {
  const headers = { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
  return (await ask("square", { method: "POST", body: file, headers, signal })).blob();
}

/** No image: the invitation. */
export function showNone() {
  byId("square").hidden = byId("crops").hidden = true;
  byId("invitation").hidden = false;
}

/** Show a square, and keep the ten crops for whoever opens them. */
export function showSquare(blob, description) {
  const image = prepared(description);
  byId("crops").hidden = false;
  const drawn = showBlob(image, blob);
  const crops = byId("crops");
  const draw = () => crops.open && drawn.then(() => crops.querySelector("div").replaceChildren(...tenCrops(image)));
  crops.ontoggle = draw;
  draw();
}

/** Show what is left of an indexed image whose file is gone. */
export function showThumbnail(id, description) {
  byId("crops").hidden = true;
  showImage(prepared(description), `images/${id}/thumbnail`);
}

function prepared(description) {
  byId("invitation").hidden = true;
  const image = byId("square");
  image.alt = description;
  image.hidden = false;
  return image;
}

function tenCrops(image) {
  return [false, true].flatMap((mirrored) => PLACES.map(([place, left, top]) => {
    const name = mirrored ? `${place}, mirrored` : place;
    const canvas = element("canvas", { width: CROP, height: CROP, role: "img", "aria-label": name, title: name });
    const context = canvas.getContext("2d");
    if (mirrored) context.setTransform(-1, 0, 0, 1, CROP, 0);
    context.drawImage(image, left, top, CROP, CROP, 0, 0, CROP, CROP);
    return canvas;
  }));
}
