// The most similar images: six, then more by scrolling; one search mode, or two side by side.

import { request, showImage, timings } from "./api.js";
import { byId, count, element } from "./element.js";
import { InfiniteScroll } from "./infinite-scroll.js";
import { currentQuery, navigate } from "./navigation.js";
import { addPositive, addNegative, buildRequest, queryById, toAddress } from "./query.js";

const FIRST_PAGE = 6;
const PAGE_SIZE = 12;
const MODE_NAMES = { exact: "Exact", binary: "Binary codes" };

let lists = [];
const scroll = new InfiniteScroll(byId("more"), () => loadPage(PAGE_SIZE));

/** Search, and show the nearest six. `previews`: of the sent images. Returns the list, with its nearest image. */
export async function showNeighbors(query, previews, signal) {
  const both = query.mode === "both";
  lists = (both ? ["exact", "binary"] : [query.mode]).map((mode) => ({
    query, previews, signal, mode, cursor: null, ended: false, waiting: [],
    title: element("h3"), items: element("ol", { className: "images" }),
  }));
  const available = await loadPage(FIRST_PAGE);
  const columns = lists.map(({ title, items }) => element("div", {}, both ? title : "", items));
  byId("neighbors").replaceChildren(...columns);
  byId("neighbors").classList.toggle("two", both);
  byId("hint").hidden = false;
  scroll.reset(available);
  return lists[0];
}

/** Images to start from, in place of neighbors. */
export function showStartImages(images) {
  const items = images.map(card);
  byId("neighbors").classList.remove("two");
  byId("neighbors").replaceChildren(element("ol", { className: "images" }, ...items));
  byId("hint").hidden = true;
  scroll.reset(false);
}

async function loadPage(size) {
  const current = lists;
  for (const list of current.filter(hasMore)) await extend(list, size); // one by one: they are timed
  return current.some(hasMore);
}

const hasMore = ({ ended, waiting }) => !ended || waiting.length > 0;

/** Append the next images to a list; the images of the query itself are left out. */
async function extend(list, size) {
  while (list.waiting.length < size && !list.ended) await fetchPage(list, size);
  list.items.append(...list.waiting.splice(0, size).map(card));
}

/** Fetch the next neighbors of a list. They wait in it until they are shown. */
async function fetchPage(list, size) {
  const { query, previews, signal } = list;
  const excluded = new Set([...query.like, ...query.unlike]);
  const [path, options] = buildRequest(query, list.mode, size + excluded.size, list.cursor, previews);
  const response = await request(path, { ...options, signal });
  const { neighbors, index, has_more: more, next_cursor: cursor } = await response.json();
  list.waiting.push(...neighbors.filter(({ id }) => !excluded.has(id)));
  Object.assign(list, { cursor, ended: !more, size: index.size });
  list.milliseconds ??= timings(response).search;
  list.nearest ??= neighbors[0];
  list.title.textContent = `${MODE_NAMES[list.mode]}: ${searchTime(list)}`;
}

const searchTime = ({ milliseconds }) => (milliseconds === undefined ? "" : `${milliseconds.toFixed(1)} ms`);

/** How many images were searched, and how long it took. */
export function summary() {
  const [{ query, size }] = lists;
  const searched = query.mode === "both" ? "searched in two modes" : `searched in ${searchTime(lists[0])}`;
  return `${count(size, "image")} ${searched}${query.label ? `; only the label ${query.label} is shown` : ""}.`;
}

/** A neighbor, or an image to start from, which has no distance. */
function card({ id, label, file, distance, similarity }) {
  const image = element("img", { alt: `Image ${id}`, width: 128, height: 128 });
  showImage(image, `images/${id}/thumbnail`);
  const link = element("a", { href: toAddress(queryById(currentQuery(), id)), title: file ?? "" }, image,
    element("span", { className: "label" }, label ?? "no label"));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return; // opens a tab of its own
    event.preventDefault();
    const change = event.shiftKey ? addPositive : event.altKey ? addNegative : queryById;
    navigate(change(currentQuery(), id));
  });
  const button = (sign, change, meaning) => element("button", {
    type: "button", title: meaning, "aria-label": `${meaning}: image ${id}`,
    onclick: () => navigate(change(currentQuery(), id)),
  }, sign);
  if (distance === undefined) return element("li", {}, link);
  return element("li", {}, link, element("div", { className: "row actions" },
    element("small", { title: `similarity ${similarity.toFixed(2)}` }, `distance ${distance.toFixed(2)}`),
    element("span", {}, button("+", addPositive, "More like this"), " ", button("−", addNegative, "Less like this"))));
}
