// The search view: one image, what the network says about it, and the most similar images of the library.

import { answerView, isLabel, unfamiliarNotice } from "./answer.js";
import { classify, fetchJson, fetchLabels, request } from "./api.js";
import { copyButtons } from "./copy-as.js";
import { byId, count, element, percent, tidy } from "./element.js";
import { entryName } from "./entry.js";
import { currentQuery, navigate } from "./navigation.js";
import { neighborList } from "./neighbors.js";
import { networkView } from "./network-view.js";
import { queryChips } from "./query-chips.js";
import { imageOfEntry, imageOfFile, placeholder } from "./query-image.js";
import { isEmpty, isSingle, sentImages } from "./query.js";
import { answerOf } from "./queue.js";
import { skeletonAnswer, skeletonCards } from "./skeletons.js";
import { showStart } from "./start.js";

export async function show(context) {
  const { query } = context;
  if (isEmpty(query)) {
    await showStart(context);
    return;
  }
  try {
    await showResults(context);
  } catch (error) {
    const [, number] = /^image (\d+) of/.exec(error.message) ?? [null, query.sent.length === 1 ? 1 : 0];
    error.subject ||= sentImages.get(query.sent[number - 1])?.file.name ?? "";
    error.several = query.sent.length > 1 && !error.subject;
    throw error;
  }
}

async function showResults({ query, info, root, signal, cancel, scroll }) {
  const image = element("section", { className: "query-image", "aria-labelledby": "image-heading" });
  const answer = element("section", { className: "answer", "aria-labelledby": "answer-heading" }, ...skeletonAnswer(cancel));
  const results = info.index && element("section", { className: "results", "aria-labelledby": "neighbors-heading" },
    element("h2", { id: "neighbors-heading" }, "Most similar images"), skeletonCards(12));
  root.replaceChildren(...[image, answer, results].filter(Boolean));
  root.className = results ? "found" : "found alone";
  root.setAttribute("aria-busy", "true");
  byId("status").textContent = "Searching …";
  const [sent] = query.sent;
  image.append(sent ? imageOfFile(sentImages.get(sent).file, signal) : placeholder(query.like[0]));

  const named = sent ? answerOf(sent, signal).then((response) => ({ response, file: sentImages.get(sent).file }))
    : nameIndexed(query.like[0], image, signal);
  if (query.mode === "both") await named; // the two searches are timed
  const [{ response, label, file, note }, list] = await Promise.all([named, info.index && neighborList(query, signal)]);

  if (list) showNeighbors(results, list, query, info, signal);
  const self = list?.self;
  if (self) image.append(knownImage(self));
  const notes = [isSingle(query) ? "" : "These are the classes of the first image only.", note, ...readingNotes(response)];
  const truth = await checkLabel(self?.label ?? label, response.predictions, signal);
  answer.replaceChildren(...answerView(response, truth, notes), copyButtons(query, response, list, Boolean(note)), networkView(file));
  if (response.familiar === false) {
    root.classList.add("unfamiliar");
    image.append(unfamiliarNotice(response, Boolean(list)));
    if (results) root.append(answer); // the similar images come first
  }
  root.removeAttribute("aria-busy");
  byId("status").textContent = spoken(response, list);
  await list?.loadTo(scroll);
}

/** The answer to an indexed image, from its original file, or from its thumbnail if that is gone. */
async function nameIndexed(id, section, signal) {
  const entry = await fetchJson(`images/${id}`, { signal });
  const load = async (name) => (await request(`images/${id}/${name}`, { signal })).blob();
  if (entry.image) {
    try {
      const file = await load("image");
      section.replaceChildren(imageOfEntry(entry, file));
      return { response: await classify(file, signal), label: entry.label, file };
    } catch (error) {
      if (![404, 413].includes(error.status)) throw error;
    }
  }
  const file = await load("thumbnail");
  section.replaceChildren(imageOfEntry(entry, file));
  const note = "The answer is for its thumbnail: its file isn't available.";
  return { response: await classify(file, signal), label: entry.label, file, note };
}

/** A label, and whether it is one of the network's classes: only then can an answer be right or wrong. */
async function checkLabel(label, predictions, signal) {
  const matches = (named) => isLabel(named, label);
  const isClass = Boolean(label) && (predictions.some(matches) || (await fetchJson("history", { signal })).classes.some(matches));
  return { label, isClass };
}

/** What was guessed, converted or left out of the image, which the browser may show otherwise: `it has several images`. */
const readingNotes = ({ image }) => image.warnings.map(({ message }) => `${message[0].toUpperCase()}${message.slice(1)}.`);

/** The sent image is in the library: it takes no place among the results. */
function knownImage(entry) {
  const { id, label } = entry;
  return element("p", { className: "known" }, "✓ In the library as ", element("a", { href: `?id=${id}` }, entryName(entry)),
    label ? element("span", {}, ", labeled ", element("b", {}, tidy(label))) : ", without a label");
}

function showNeighbors(results, list, query, info, signal) {
  const heading = element("h2", { id: "neighbors-heading", tabIndex: -1 }, "Most similar images");
  const controls = element("div", { className: "row controls" });
  results.replaceChildren(element("div", { className: "row heading" }, heading, controls), ...queryChips(query),
    element("p", { className: "quiet summary" }, list.summary()), ...list.elements);
  showFilters(controls, query, info, signal).catch(() => {}); // the results are worth showing without them
}

async function showFilters(controls, query, info, signal) {
  const labels = await fetchLabels(info, signal);
  const choose = (name) => (event) => navigate({ ...currentQuery(), [name]: event.target.value });
  const option = (value, text, chosen) => element("option", { value, selected: value === chosen }, text);
  if (labels.length) {
    controls.append(element("label", {}, "Label ", element("select", { onchange: choose("label") }, option("", "any", query.label),
      ...labels.map(({ label, images }) => option(label, `${tidy(label)} (${images.toLocaleString("en")})`, query.label)))));
  }
  if (info.index.codes) {
    controls.append(element("label", {}, "Search mode ", element("select", { onchange: choose("mode") },
      option("", "exact", query.mode), option("binary", "binary codes", query.mode),
      option("both", "both, side by side", query.mode))));
  }
}

function spoken({ predictions: [top], familiar }, list) {
  const similar = list ? ` ${count(list.shown(), "similar image")}.` : "";
  const warning = familiar === false ? "Unlike anything the network was trained on. " : "";
  return `${warning}Most likely: ${tidy(top.name)}, ${percent(top.probability)}.${similar}`;
}
