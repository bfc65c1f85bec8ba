// The model view: what the network knows, how often it is right, and how it was made.

import { fetchJson, fetchLabels } from "./api.js";
import { classList } from "./class-list.js";
import { confusionSection } from "./confusion.js";
import { byId, count, element, exactPercent, percent, scrollable, section, terms, tidy } from "./element.js";
import { kernelSection } from "./kernels.js";
import { curveSection } from "./training-history.js";

const MATRIX_CLASSES = 40;

export async function show({ info, root, signal }) {
  const heading = element("h1", { id: "model-heading", tabIndex: -1 }, `${info.model.name}, version ${info.model.version}`);
  root.replaceChildren(element("section", {}, heading, element("p", { className: "promise" }, summary(info))));
  byId("status").textContent = "";
  const [{ classes, history }, labels] = await Promise.all([fetchJson("history", { signal }), fetchLabels(info, signal)]);
  const sections = [
    element("section", { "aria-labelledby": "classes-heading" }, ...classList(classes, labels)),
    info.measurements.length ? errorTable(info.measurements, info.num_classes) : null,
    history?.confusion.length ? confusionSection(classes.map(({ name }) => tidy(name)), history, MATRIX_CLASSES) : null,
    history?.epochs.length > 1 ? curveSection(history.epochs) : null,
    section("facts-heading", "Training and license", factList(info)),
    kernelSection(info.towers, signal),
  ];
  root.append(...sections.filter(Boolean));
}

/** What it knows and how often it is right, in a sentence or two. */
function summary({ num_classes: classes, measurements, precision }) {
  const knows = `It distinguishes ${count(classes, "class", "classes")}.`;
  const best = [...measurements].sort((a, b) => Number(a.published) - Number(b.published)
    || Number(b.precision === precision) - Number(a.precision === precision) || b.crops - a.crops)[0];
  if (!best) return `${knows} Its errors haven't been measured.`;
  const right = `the most likely class was right for ${percent(1 - best.top1_error)}`;
  const five = best.top5_error !== null && classes > 5 ? `, one of the top five for ${percent(1 - best.top5_error)}` : "";
  const where = `${best.published ? "Its publishers say that of" : "Of"} ${count(best.num_images, "image")} (${best.split})`;
  return `${knows} ${where}, ${right}${five}; guessing gives ${percent(1 / classes)}.`;
}

function factList(info) {
  const { dataset, images = {}, data, recipe, epochs, commit } = info.training;
  const splits = Object.entries(images).map(([split, number]) => `${number.toLocaleString("en")} ${split}`);
  const facts = {
    "Training data": dataset && [dataset, splits.join(", ")].filter(Boolean).join(": "),
    "Left out": Object.entries(data?.skipped ?? {}).map(([reason, number]) => `${reason}: ${number.toLocaleString("en")}`).join(", "),
    Recipe: recipe?.name,
    Epochs: epochs,
    Parameters: info.parameters.toLocaleString("en"),
    "Runs on": `${info.device}, ${info.precision}`,
    Library: info.index ? count(info.index.size, "image") : "none",
    Created: new Date(info.created).toLocaleDateString("en", { dateStyle: "long" }),
    Commit: commit === "unknown" ? null : commit, // trained outside a repository
    License: info.license.replaceAll("; ", ";\n"),
  };
  return element("dl", {}, ...terms(facts));
}

/** A column per measurement, named by its images, crops and precision; a row per quantity. */
function errorTable(measurements, classes) {
  const groups = [...new Set(measurements.flatMap((measurement) => Object.keys(measurement.groups)))];
  const interval = (ends) => (ends ? ` (${ends.map((end) => (100 * end).toFixed(1)).join(" to ")})` : "");
  const rows = [
    ["Images", ({ num_images: images }) => images.toLocaleString("en")],
    ["Top-1 error (95 % interval)", (m) => exactPercent(m.top1_error) + interval(m.top1_interval)],
    ["Top-5 error", (m) => (m.top5_error === null ? "" : exactPercent(m.top5_error) + interval(m.top5_interval)), classes > 5],
    ["Balanced accuracy", (m) => exactPercent(m.balanced_accuracy) + interval(m.balanced_accuracy_interval),
      measurements.every((m) => typeof m.balanced_accuracy === "number")],
    ...groups.map((group) => [`${group}, correct`, (m) => (group in m.groups ? exactPercent(m.groups[group]) : "")]),
  ].filter(([, , shown = true]) => shown);
  const head = measurements.map(({ split, crops, precision, published }) => element("th", { scope: "col" },
    [split, count(crops, "crop"), precision].join(", ") + (published ? " (published, not measured here)" : "")));
  return section("errors-heading", "Measured errors", scrollable("errors-heading",
    element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...head)),
      element("tbody", {}, ...rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, tidy(name)),
        ...measurements.map((measurement) => element("td", {}, String(value(measurement))))))))));
}
