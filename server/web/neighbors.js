// The most similar images: a first page, then more by scrolling; one search mode, or two side by side.

import { readJson, request, timings } from "./api.js";
import { neighborCard } from "./card.js";
import { count, element, tidy } from "./element.js";
import { loadTo, moreButton } from "./infinite-scroll.js";
import { buildRequest, isSingle } from "./query.js";

const FIRST_PAGE = 12;
const PAGE_SIZE = 24;
const SAME_IMAGE_DISTANCE = 1e-3; // nearer than this is the same image
const MODE_NAMES = { exact: "Exact", binary: "Binary codes" };

/** Search. Returns the page's `elements`, the image `self` that is the query's own, and more. Throws ApiError. */
export async function neighborList(query, signal) {
  const both = query.mode === "both";
  const lists = (both ? ["exact", "binary"] : [query.mode]).map((mode) => ({
    query, mode, signal, cursor: null, ended: false, waiting: [], entries: [], response: null, self: null,
    title: element("h3"), items: element("ol", { className: "images" }),
  }));
  const load = async (size) => {
    for (const list of lists.filter(hasMore)) await extend(list, size); // one by one: they are timed
    return lists.some(hasMore);
  };
  const more = moreButton(() => load(PAGE_SIZE), signal);
  more.hidden = !(await load(FIRST_PAGE));
  const columns = lists.map(({ title, items }) => element("div", {}, both ? title : "", items));
  return {
    loadTo: (scroll) => loadTo(scroll, () => load(PAGE_SIZE), more),
    elements: [element("div", { className: both ? "two" : "" }, ...columns), more],
    self: lists[0].self,
    response: lists[0].response,
    shown: () => lists[0].entries.length,
    summary: () => summarize(lists),
  };
}

const hasMore = ({ ended, waiting }) => !ended || waiting.length > 0;

/** Append the next images to a list; the images of the query itself are left out. */
async function extend(list, size) {
  while (list.waiting.length < size && !list.ended) await fetchPage(list, size);
  const entries = list.waiting.splice(0, size);
  const first = list.entries.length;
  list.entries.push(...entries);
  list.items.append(...entries.map((_, at) => neighborCard(list.entries, first + at)));
}

/** Fetch the next neighbors of a list. They wait in it until they are shown; one more page is fetched with the first. */
async function fetchPage(list, size) {
  const { query, signal } = list;
  const excluded = new Set([...query.like, ...query.unlike]);
  const first = list.response === null;
  const [path, options] = buildRequest(query, list.mode, size + excluded.size + (first ? PAGE_SIZE : 0), list.cursor);
  const response = await request(path, { ...options, signal });
  const answer = await readJson(response);
  let found = answer.neighbors.filter(({ id }) => !excluded.has(id));
  if (first && query.sent.length && isSingle(query) && found[0]?.distance < SAME_IMAGE_DISTANCE) {
    [list.self, ...found] = found;
  }
  list.waiting.push(...found);
  list.response ??= answer;
  list.milliseconds ??= timings(response).search;
  Object.assign(list, { cursor: answer.next_cursor, ended: !answer.has_more });
  list.title.textContent = [MODE_NAMES[list.mode], searchTime(list)].filter(Boolean).join(": ");
}

const searchTime = ({ milliseconds }) => (milliseconds === undefined ? "" : `${milliseconds.toFixed(1)} ms`);

/** What the nearest images are labeled, how many images were searched, and how long it took. */
function summarize([list, other]) {
  const { query, entries, response } = list;
  if (!entries.length) return query.label ? `No other image is labeled ${tidy(query.label)}.` : noOthers(response.index.size);
  const searched = query.label ? `${count(response.total, "image")} labeled ${tidy(query.label)}` : count(response.index.size, "image");
  const time = other ? "two modes" : searchTime(list);
  return `${query.label ? "" : commonLabel(entries)}${searched} searched${time && ` in ${time}`}. Bars: similarity, 1 for the same image.`;
}

const noOthers = (size) => (size ? "There are no other images." : "The library is empty.");

/** The label of most of the images, if there is one. */
function commonLabel(entries) {
  const counts = new Map();
  for (const { label } of entries) if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  const [label, images] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
  return images * 2 > entries.length ? `${images} of these ${entries.length} are labeled ${tidy(label)}. ` : "";
}
