// The kernels of the first layer (Figure 3), folded away if they are noise.

import { element } from "./element.js";
import { showImage } from "./server-image.js";

const SIDE = 11; // pixels of a kernel; one more is the gap to the next
const STRUCTURED = 0.35; // kernels with at least this much show more than noise

/** A section that is there once the kernels are loaded; an artifact may have none. */
export function kernelSection(towers, signal) {
  const caption = towers === 2 ? " The upper half belongs to the first tower, the lower half to the second." : "";
  const canvas = element("canvas", { id: "kernels", role: "img", "aria-label": "Kernels of the first layer, 16 per row" });
  const note = element("figcaption", { className: "quiet" });
  const details = element("details", {}, element("summary", {}, element("h2", { id: "kernels-heading" }, "Kernels of the first layer")),
    element("figure", {}, canvas, note));
  const section = element("section", { "aria-labelledby": "kernels-heading", hidden: true }, details);
  const sheet = element("img", { alt: "" });
  showImage(sheet, "kernels").then((visible) => {
    if (!visible || signal.aborted) return;
    const structure = draw(canvas, sheet);
    details.open = structure >= STRUCTURED;
    note.textContent = `Each has 11 × 11 × 3 weights (Figure 3), on one color scale.${caption}`
      + (details.open ? "" : " They hardly changed from their random start: a short training run changes them little.");
    section.hidden = false;
  });
  return section;
}

/** Draw the kernels without the sheet's gaps. Returns their structure: 0 for noise, 1 for flat areas. */
function draw(canvas, sheet) {
  Object.assign(canvas, { width: sheet.naturalWidth, height: sheet.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let [sum, tiles] = [0, 0];
  for (let top = 0; top + SIDE <= canvas.height; top += SIDE + 1) {
    for (let left = 0; left + SIDE <= canvas.width; left += SIDE + 1) {
      context.drawImage(sheet, left, top, SIDE, SIDE, left, top, SIDE, SIDE);
      sum += correlation(context.getImageData(left, top, SIDE, SIDE).data);
      tiles += 1;
    }
  }
  return sum / tiles;
}

/** How alike neighboring weights are, compared with any two weights of the kernel. */
function correlation(pixels) {
  const values = pixels.filter((_, at) => at % 4 < 3);
  const mean = values.reduce((total, value) => total + value, 0) / values.length;
  let [steps, spread] = [0, 0];
  values.forEach((value, at) => {
    spread += (value - mean) ** 2 / values.length;
    if ((at / 3) % SIDE < SIDE - 1) steps += (value - values[at + 3]) ** 2 / (2 * values.length * (1 - 1 / SIDE));
  });
  return spread ? 1 - steps / spread : 0;
}
