// The view of the network that is served: what it is, how it was trained, its measured errors, Figure 3's kernels.

import { askJson, showImage } from "./api.js";
import { byId, count, element } from "./element.js";
import { sections } from "./history.js";

const percent = (share) => `${(100 * share).toFixed(2)} %`;

/** Raises Refusal. */
export async function show(query, info, signal) {
  const { model, training, measurements } = info;
  const history = await askJson("history", { signal });
  byId("model").replaceChildren(
    element("section", { "aria-labelledby": "model-heading" },
      element("h2", { id: "model-heading" }, `${model.name}, version ${model.version}`), facts(info, training)),
    ...(measurements.length ? [errors(measurements)] : []),
    ...sections(history),
    kernels(info.towers),
  );
}

function facts(info, { dataset, images = {}, epochs, commit }) {
  const parts = Object.entries(images).map(([part, number]) => `${number.toLocaleString("en")} ${part}`);
  const rows = {
    Classes: info.classes,
    Parameters: info.parameters.toLocaleString("en"),
    "Runs on": `${info.device}, ${info.precision}`,
    Index: info.index ? count(info.index.size, "image") : "none",
    "Trained on": dataset && [dataset, parts.join(", ")].filter(Boolean).join(": "),
    Epochs: epochs,
    "Made on": new Date(info.created).toLocaleDateString("en", { dateStyle: "long" }),
    Commit: commit,
    License: info.license,
  };
  return element("dl", {}, ...Object.entries(rows).filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

/** A row for each measurement; coarser classes have columns of their own. */
function errors(measurements) {
  const groups = [...new Set(measurements.flatMap((measurement) => Object.keys(measurement.groups)))];
  const right = groups.map((group) => `${group}, right`);
  const titles = ["Images", "Crops", "Precision", "Top-1 error", "Top-5 error", ...right];
  const row = (measurement) => element("tr", {}, element("th", { scope: "row" }, measurement.split + (measurement.published ? " (not measured here)" : "")), ...[
    measurement.images.toLocaleString("en"), measurement.crops, measurement.precision,
    percent(measurement.top1_error), percent(measurement.top5_error),
    ...groups.map((group) => (group in measurement.groups ? percent(measurement.groups[group]) : "")),
  ].map((value) => element("td", {}, String(value))));
  const head = ["Measured on", ...titles].map((title) => element("th", { scope: "col" }, title));
  return element("section", { "aria-labelledby": "errors-heading" },
    element("h2", { id: "errors-heading" }, "Measured errors"),
    element("div", { className: "wide", tabIndex: 0, role: "region", "aria-labelledby": "errors-heading" },
      element("table", {}, element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...measurements.map(row)))));
}

function kernels(towers) {
  const image = element("img", { id: "kernels", alt: "The kernels of the first layer, 16 a row" });
  showImage(image, "kernels");
  const caption = towers === 2 ? " The upper half is the first tower's, the lower half the second's." : "";
  return element("section", { "aria-labelledby": "kernels-heading" },
    element("h2", { id: "kernels-heading" }, "What the first layer looks for"),
    element("figure", {}, image, element("figcaption", { className: "quiet" },
      `The kernels of 11 × 11 × 3 weights (Figure 3), all on one scale.${caption}`)));
}
