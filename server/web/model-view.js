// The model view: the served network, its training, its measured errors, and Figure 3's kernels.

import { fetchJson, showImage } from "./api.js";
import { byId, count, element } from "./element.js";
import { historySections } from "./training-history.js";

const percent = (share) => `${(100 * share).toFixed(2)} %`;
const error = (share, interval) =>
  (share === null ? "" : `${percent(share)} (${interval.map((end) => (100 * end).toFixed(1)).join(" to ")})`);

/** Throws ApiError. */
export async function show(query, info, signal) {
  const { model, training, measurements } = info;
  const history = await fetchJson("history", { signal });
  byId("model").replaceChildren(
    element("section", { "aria-labelledby": "model-heading" },
      element("h2", { id: "model-heading" }, `${model.name}, version ${model.version}`), factList(info, training)),
    ...(measurements.length ? [errorTable(measurements)] : []),
    ...historySections(history),
    kernels(info.towers),
  );
}

function factList(info, { dataset, images = {}, epochs, commit }) {
  const splits = Object.entries(images).map(([split, number]) => `${number.toLocaleString("en")} ${split}`);
  const facts = {
    Classes: info.num_classes,
    Parameters: info.parameters.toLocaleString("en"),
    Device: `${info.device}, ${info.precision}`,
    Index: info.index ? count(info.index.size, "image") : "none",
    "Training data": dataset && [dataset, splits.join(", ")].filter(Boolean).join(": "),
    Epochs: epochs,
    Created: new Date(info.created).toLocaleDateString("en", { dateStyle: "long" }),
    Commit: commit,
    License: info.license,
  };
  return element("dl", {}, ...Object.entries(facts).filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

/** A row per measurement; groups of classes have a column each. */
function errorTable(measurements) {
  const groups = [...new Set(measurements.flatMap((measurement) => Object.keys(measurement.groups)))];
  const titles = ["Images", "Crops", "Precision", "Top-1 error (95 % interval)", "Top-5 error", ...groups.map((group) => `${group}, correct`)];
  const row = (measurement) => element("tr", {},
    element("th", { scope: "row" }, measurement.split + (measurement.published ? " (published, not measured here)" : "")), ...[
      measurement.num_images.toLocaleString("en"), measurement.crops, measurement.precision,
      error(measurement.top1_error, measurement.top1_interval), error(measurement.top5_error, measurement.top5_interval),
      ...groups.map((group) => (group in measurement.groups ? percent(measurement.groups[group]) : "")),
    ].map((value) => element("td", {}, String(value))));
  const head = ["Split", ...titles].map((title) => element("th", { scope: "col" }, title));
  return element("section", { "aria-labelledby": "errors-heading" },
    element("h2", { id: "errors-heading" }, "Measured errors"),
    element("div", { className: "wide", tabIndex: 0, role: "region", "aria-labelledby": "errors-heading" },
      element("table", {}, element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...measurements.map(row)))));
}

function kernels(towers) {
  const image = element("img", { id: "kernels", alt: "Kernels of the first layer, 16 per row" });
  const caption = towers === 2 ? " The upper half belongs to the first tower, the lower half to the second." : "";
  const section = element("section", { "aria-labelledby": "kernels-heading" },
    element("h2", { id: "kernels-heading" }, "Kernels of the first layer"),
    element("figure", {}, image, element("figcaption", { className: "quiet" },
      `96 kernels of 11 × 11 × 3 weights (Figure 3), on one color scale.${caption}`)));
  image.addEventListener("error", () => section.remove()); // an artifact may have no kernels
  showImage(image, "kernels");
  return section;
}
