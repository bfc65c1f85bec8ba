// The view of the index: its labels with their counts, its images page by page.

import * as adding from "./adding.js";
import { askJson } from "./api.js";
import { byId, count, element } from "./element.js";
import { entry } from "./entry.js";
import { More } from "./more.js";
import { here } from "./navigation.js";
import { explain } from "./notice.js";
import { address } from "./query.js";

const PAGE = 60;

let cursor = 0;
const more = new More(byId("more-entries"), grow);
adding.whenDone(() => here().view === "index" && show(here()).catch((error) => explain(error)));

/** Show the images of the query's label, or all. Raises Refusal. */
export async function show(query) {
  cursor = 0;
  byId("entries").replaceChildren();
  await showLabels();
  more.begin(await grow());
}

async function grow() {
  const { label } = here();
  const parameters = new URLSearchParams({ cursor, limit: PAGE });
  if (label) parameters.set("label", label);
  const { images, next } = await askJson(`images?${parameters}`);
  byId("entries").append(...images.map((image) => entry(image, showLabels)));
  cursor = next;
  return next !== null;
}

async function showLabels() {
  const [{ labels }, { index }] = await Promise.all([askJson("labels"), askJson("images?limit=1")]);
  const query = here();
  const item = (label, name, images) => {
    const link = element("a", { href: address({ ...query, label }) }, name);
    if (label === query.label) link.setAttribute("aria-current", "true");
    return element("li", {}, link, element("span", {}, images.toLocaleString("en")));
  };
  byId("labels").replaceChildren(item("", "all", index.size),
    ...labels.map(({ label, images }) => item(label, label, images)));
  byId("known-labels").replaceChildren(...labels.map(({ label }) => element("option", { value: label })));
  byId("entries-heading").textContent = query.label
    ? `${query.label}: ${count(labels.find(({ label }) => label === query.label)?.images ?? 0, "image")}`
    : count(index.size, "image");
}
