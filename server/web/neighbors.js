// The most similar images: six, then as many as one scrolls to; by one way of searching or two side by side.

import { ask, showImage, times } from "./api.js";
import { byId, count, element } from "./element.js";
import { More } from "./more.js";
import { go, here } from "./navigation.js";
import { add, address, from, request, subtract } from "./query.js";

const FIRST = 6;
const PAGE = 12;
const NAMES = { exact: "Exact", binary: "Binary codes" };

let lists = [];
const more = new More(byId("more"), () => grow(PAGE));

/** Search, and show the nearest six. `squares`: of the sent images. The nearest one, and how long searching took. */
export async function show(query, squares, signal) {
  const both = query.method === "both";
  lists = (both ? ["exact", "binary"] : [query.method]).map((method) => ({
    query, squares, signal, method, rank: 0, ended: false,
    title: element("h3"), items: element("ol", { className: "images" }),
  }));
  const going = await grow(FIRST);
  const shown = lists.map(({ title, items }) => element("div", {}, both ? title : "", items));
  byId("neighbors").replaceChildren(...shown);
  byId("neighbors").classList.toggle("two", both);
  byId("how").hidden = false;
  more.begin(going);
  return lists[0];
}

/** Images to start from, in place of neighbors. */
export function offer(images) {
  const items = images.map(({ id, label }) => card(id, label, null));
  byId("neighbors").classList.remove("two");
  byId("neighbors").replaceChildren(element("ol", { className: "images" }, ...items));
  byId("how").hidden = true;
  more.begin(false);
}

async function grow(wanted) {
  const growing = lists;
  for (const list of growing.filter(({ ended }) => !ended)) await extend(list, wanted); // one by one: they are timed
  return growing.some(({ ended }) => !ended);
}

/** The next images of a list; those that the query is made of are left out. */
async function extend(list, wanted) {
  const { query, squares, signal } = list;
  const left = new Set([...query.like, ...query.unlike]);
  const k = wanted + left.size;
  const [path, options] = request(query, list.method, k, list.rank, squares);
  const response = await ask(path, { ...options, signal });
  const { neighbors, index } = await response.json();
  const others = neighbors.filter(({ id }) => !left.has(id)).slice(0, wanted);
  const last = others.length === wanted ? neighbors.indexOf(others.at(-1)) + 1 : neighbors.length;
  list.rank += last;
  list.ended = neighbors.length < k && last === neighbors.length;
  list.took ??= times(response).search;
  list.nearest ??= neighbors[0];
  list.size = index.size;
  list.title.textContent = `${NAMES[list.method]}: ${took(list)}`;
  list.items.append(...others.map(({ id, label, distance }) => card(id, label, distance)));
}

const took = (list) => (list.took === undefined ? "" : `${list.took.toFixed(1)} ms`);

/** What was searched, and how long it took. */
export function summary() {
  const [{ query, size }] = lists;
  const searched = query.method === "both" ? "searched in two ways" : `searched in ${took(lists[0])}`;
  return `${count(size, "image")} ${searched}${query.label ? `, those labeled ${query.label} shown` : ""}.`;
}

function card(id, label, distance) {
  const image = element("img", { alt: `Image ${id}`, width: 128, height: 128 });
  showImage(image, `images/${id}/thumbnail`);
  const link = element("a", { href: address(from(here(), id)) }, image,
    element("span", { className: "label" }, label ?? "no label"));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return; // a tab of its own
    event.preventDefault();
    const change = event.shiftKey ? add : event.altKey ? subtract : from;
    go(change(here(), id));
  });
  const button = (sign, change, meaning) => element("button", {
    type: "button", title: meaning, "aria-label": `${meaning}: image ${id}`, onclick: () => go(change(here(), id)),
  }, sign);
  if (distance === null) return element("li", {}, link);
  return element("li", {}, link, element("div", { className: "row signs" },
    element("small", {}, `distance ${distance.toFixed(2)}`),
    element("span", {}, button("+", add, "More like this too"), " ", button("−", subtract, "Less like this"))));
}
