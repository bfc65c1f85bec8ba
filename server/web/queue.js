// The queue: files that were chosen together are classified one after another; each has a tile that opens its answer.

import { classify } from "./api.js";
import { button, byId, count, element, percent, tidy } from "./element.js";
import { errorText } from "./error-texts.js";
import { currentQuery, navigate } from "./navigation.js";
import { keepFile, queryBySent, sentImages } from "./query.js";
import { drawSmall } from "./small-image.js";
import { wait } from "./wait.js";

let numbers = [];
let stopped = null; // an AbortController of the queue's own work

/** What the network says about a sent image; it is asked once, for whoever wants to know. Throws ApiError. */
export async function answerOf(number, signal) {
  const image = sentImages.get(number);
  for (;;) {
    image.answer ??= classify(image.file, signal).catch((error) => {
      image.answer = null;
      throw error;
    });
    try {
      return await image.answer;
    } catch (error) {
      if (error.name !== "AbortError" || signal.aborted) throw error; // another one who asked has stopped
    }
  }
}

/** Search with files: show the first one, and queue the others. */
export function chooseFiles(files) {
  stopped?.abort();
  numbers = files.map(keepFile);
  if (numbers.length > 1) fill();
  navigate(queryBySent(currentQuery(), numbers.slice(0, 1)));
}

/** Show the queue beside a query, and which of its files the query is about. */
export function showQueue(query, searches) {
  const section = byId("queue");
  section.hidden = query.view !== "search" || numbers.length < 2;
  const [all] = section.querySelectorAll("button");
  if (all) all.hidden = !searches || numbers.length > 16;
  for (const tile of section.querySelectorAll("li button")) {
    if (query.sent.length === 1 && Number(tile.value) === query.sent[0]) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
  }
}

function fill() {
  const tiles = numbers.map(tileOf);
  const stop = button("Stop", () => stopped.abort());
  const usable = () => tiles.filter(({ className }) => className !== "failed").map(({ value }) => Number(value));
  const all = button("Search with all of them", () => navigate(queryBySent(currentQuery(), usable())));
  byId("queue").replaceChildren(
    element("div", { className: "row" }, element("h2", {}, count(numbers.length, "file")), all, stop,
      button("Close", close, { "aria-label": "Close the list of files" })),
    element("ol", { className: "tiles" }, ...tiles.map((tile) => element("li", {}, tile))));
  stopped = new AbortController();
  nameAll(tiles, stopped.signal).finally(() => { stop.hidden = true; });
}

function close() {
  stopped.abort();
  numbers = [];
  byId("queue").hidden = true;
}

function tileOf(number) {
  const { file } = sentImages.get(number);
  const canvas = element("canvas", { width: 96, height: 96, "aria-hidden": "true" });
  drawSmall(canvas, file);
  const tile = button(canvas, () => navigate(queryBySent(currentQuery(), [number])), { value: number, title: file.name });
  tile.append(element("span", { className: "file" }, file.name), element("span", { className: "note" }, "waiting"));
  return tile;
}

async function nameAll(tiles, signal) {
  for (const tile of tiles) {
    if (signal.aborted) tile.lastChild.textContent = "not classified";
    else await nameOne(Number(tile.value), tile, signal);
  }
}

async function nameOne(number, tile, signal) {
  try {
    const { predictions: [top], familiar } = await answerOf(number, signal);
    tile.lastChild.textContent = `${familiar === false ? "unfamiliar, perhaps " : ""}${tidy(top.name)}, ${percent(top.probability)}`;
    tile.className = "named";
  } catch (error) {
    if (error.retryAfter && !signal.aborted) {
      tile.lastChild.textContent = "waiting: the server is busy";
      await wait(error.retryAfter, signal);
      await nameOne(number, tile, signal);
      return;
    }
    tile.lastChild.textContent = error.name === "AbortError" ? "not classified" : errorText(error, "It");
    tile.className = "failed";
    if ([401, 403].includes(error.status)) stopped.abort(); // so would all others
  }
}
