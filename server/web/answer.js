// The answer: the most likely class large, others small, each with its probability as a bar.

import { element, exactPercent, hidden, meter, percent, quiet, tidy } from "./element.js";

const MAX_SMALL = 4;
const MIN_PROBABILITY = 0.01; // less is left to the table

/**
 * Elements of an answer. `label`: the image's own, if it is known; `isClass`: whether it is one of the network's classes.
 * @param {{predictions: object[], milliseconds: number, familiar: ?boolean, familiarity: ?number}} response
 */
export function answerView(response, { label, isClass }, notes) {
  const { predictions, milliseconds, familiar } = response;
  const [top, ...others] = predictions;
  const row = (prediction) => classRow(prediction, isLabel(prediction, label));
  const small = others.filter(({ probability }) => probability >= MIN_PROBABILITY).slice(0, MAX_SMALL);
  const time = milliseconds === undefined ? "" : `Ten crops in ${milliseconds.toFixed(0)} ms.`;
  return [
    element("h2", { id: "answer-heading" }, title(top, familiar)),
    element("ol", { className: "classes" }, row(top), ...small.map(row)),
    ...(label ? [isClass ? labelNote(predictions, label) : otherLabel(label)] : []),
    ...[...notes, time].filter(Boolean).map((text) => quiet(text)),
    exactNumbers(response),
  ];
}

function title({ probability }, familiar) {
  if (familiar === false) return "Its best guesses, if it has to choose";
  return probability < 0.5 ? "Perhaps" : "Most likely";
}

/** Whether a class or a prediction is what a label says. */
export const isLabel = ({ name, id }, label) => Boolean(label) && [name, id].includes(label);

function classRow({ name, probability }, correct) {
  const title = element("span", { className: "name" }, tidy(name));
  if (correct) title.append(element("span", { className: "check", "aria-hidden": "true" }, " ✓"), hidden(" (its label)"));
  return element("li", { className: correct ? "correct" : "" }, title,
    element("span", { className: "percent", "aria-hidden": "true" }, percent(probability)),
    meter(probability, tidy(name), exactPercent(probability)));
}

function labelNote(predictions, label) {
  const place = predictions.findIndex((prediction) => isLabel(prediction, label));
  if (place === 0) return element("p", { className: "label-note right" }, "✓ Right: that is its label.");
  return element("p", { className: "label-note wrong" }, "✗ Its label is ", element("b", {}, tidy(label)),
    place > 0 ? `, ranked number ${place + 1}.` : `, not among the top ${predictions.length} classes.`);
}

/** Such as the name of an album: no answer could be right. */
const otherLabel = (label) => quiet(`Its label is ${tidy(label)}, which isn't one of the network's classes.`);

/** What is above the names of an unfamiliar image. */
export function unfamiliarNotice({ familiarity }, hasIndex) {
  const others = familiarity ? `${percent(1 - familiarity)} of the` : "all";
  const next = hasIndex ? " Trust the similar images more than the names." : " Don't rely on the names.";
  return element("div", { className: "unfamiliar-notice", role: "note" },
    element("b", {}, "Unlike anything the network was trained on."),
    ` It is less familiar than ${others} images that were kept out of training.${next}`);
}

function exactNumbers({ predictions, familiar, familiarity }) {
  const rows = predictions.map(({ name, probability }) => element("tr", {},
    element("th", { scope: "row" }, tidy(name)), element("td", {}, exactPercent(probability))));
  const tooFew = familiar === null ? "; there were too few of them to judge by" : "";
  const known = typeof familiarity === "number" && element("p", { className: "quiet" },
    `Familiarity: ${familiarity ? percent(familiarity) : "none"} of the images that were kept out of training are less familiar`
    + `${familiar === false ? ", too few to trust the names" : tooFew}.`);
  return element("details", {}, element("summary", {}, "Exact numbers"),
    element("table", {}, element("tbody", {}, ...rows)), known || "");
}
