// The query: sent images, indexed images to be like (by id), images to be unlike; and its address.

import { imageForm } from "./api.js";

/**
 * @typedef {{view: "search" | "library" | "model", sent: number[], like: number[], unlike: number[], label: string,
 *   mode: string}} Query
 * @typedef {{file: File, answer: ?Promise<object>}} SentImage `answer`: of the network, once it was asked.
 */

/** Sent images by a number of their own. No address contains them. @type {Map<number, SentImage>} */
export const sentImages = new Map();

/** @type {Query} */
export const EMPTY = { view: "search", sent: [], like: [], unlike: [], label: "", mode: "" };

/** The query of an address; `state` is what the browser's history keeps with it. @returns {Query} */
export function parseAddress(address, state) {
  const parameters = new URLSearchParams(address);
  const ids = (name) => parameters.getAll(name).map(Number).filter((id) => Number.isSafeInteger(id) && id > 0);
  const view = parameters.get("view");
  return {
    view: ["library", "model"].includes(view) ? view : "search",
    sent: (state?.sent ?? []).filter((number) => sentImages.has(number)),
    like: ids("id"),
    unlike: ids("minus"),
    label: parameters.get("label") ?? "",
    mode: parameters.get("search") ?? "",
  };
}

/** The address of a query, without its sent images. */
export function toAddress({ view, like, unlike, label, mode }) {
  const parameters = new URLSearchParams();
  if (view !== "search") parameters.set("view", view);
  for (const id of like) parameters.append("id", id);
  for (const id of unlike) parameters.append("minus", id);
  if (label) parameters.set("label", label);
  if (mode) parameters.set("search", mode);
  return parameters.size ? `?${parameters}` : "./";
}

let lastNumber = Date.now(); // the browser's history may hold smaller numbers, from before the page was reloaded

/** Keep a file that was chosen; returns its number. */
export function keepFile(file) {
  lastNumber += 1;
  sentImages.set(lastNumber, { file, answer: null });
  return lastNumber;
}

const filters = ({ label, mode }) => ({ label, mode });

export const queryById = (query, id) => ({ ...EMPTY, ...filters(query), like: [id] });
export const queryBySent = (query, numbers) => ({ ...EMPTY, ...filters(query), sent: numbers });
export const isEmpty = ({ sent, like }) => !sent.length && !like.length;
export const isSingle = ({ sent, like, unlike }) => sent.length + like.length === 1 && !unlike.length;

/** Add an image to be like. */
export const addPositive = (query, id) => (isEmpty(query) ? queryById(query, id) : {
  ...query, like: [...query.like.filter((other) => other !== id), id], unlike: query.unlike.filter((other) => other !== id),
});

/** Add an image to be unlike; a query keeps at least one image to be like. */
export function addNegative(query, id) {
  const like = query.like.filter((other) => other !== id);
  if (!like.length && !query.sent.length) return queryById(query, id);
  return { ...query, like, unlike: [...query.unlike.filter((other) => other !== id), id] };
}

/** The query without one of its examples: `{kind: "sent" | "like" | "unlike", number}`. */
export const without = (query, { kind, number }) => (
  { ...query, [kind]: query[kind].filter((other) => other !== number) });

/** All of them, in the order in which they are shown. */
export const examples = (query) => ["sent", "like", "unlike"]
  .flatMap((kind) => query[kind].map((number) => ({ kind, number })));

/** Path and options of the search request. `cursor`: of its page, null for the first. */
export function buildRequest(query, mode, k, cursor) {
  const files = query.sent.map((number) => sentImages.get(number).file);
  const [first, ...others] = files.length ? [null, ...query.like] : query.like;
  const parameters = new URLSearchParams({ k });
  if (cursor) parameters.set("cursor", cursor);
  for (const id of others) parameters.append("id", id);
  for (const id of query.unlike) parameters.append("minus", id);
  if (query.label) parameters.set("label", query.label);
  if (mode) parameters.set("search", mode);
  if (!files.length) return [`images/${first}/similar?${parameters}`, {}];
  return [`similar?${parameters}`, { method: "POST", body: imageForm(files) }];
}
