// What is searched for: images that were sent, indexed images (by id), those to stay away from; and its address.

/** Images that were sent, by a number of their own: `{file, square, known}`. They are in no address. */
export const sent = new Map();

export const EMPTY = { view: "search", sent: [], like: [], unlike: [], label: "", method: "" };

/** The query of an address; `state` is what the browser's history keeps with it. */
export function read(address, state) {
  const parameters = new URLSearchParams(address);
  const ids = (name) => parameters.getAll(name).map(Number).filter((id) => Number.isSafeInteger(id) && id > 0);
  const view = parameters.get("view");
  return {
    view: ["index", "model"].includes(view) ? view : "search",
    sent: (state?.sent ?? []).filter((number) => sent.has(number)),
    like: ids("id"),
    unlike: ids("minus"),
    label: parameters.get("label") ?? "",
    method: parameters.get("search") ?? "",
  };
}

/** The address of a query: what can be shared of it. */
export function address({ view, like, unlike, label, method }) {
  const parameters = new URLSearchParams();
  if (view !== "search") parameters.set("view", view);
  for (const id of like) parameters.append("id", id);
  for (const id of unlike) parameters.append("minus", id);
  if (label) parameters.set("label", label);
  if (method) parameters.set("search", method);
  return parameters.size ? `?${parameters}` : "./";
}

/** Keep a file that is to be sent; its number. */
export function keep(file) {
  sent.set(sent.size + 1, { file });
  return sent.size;
}

const settings = ({ label, method }) => ({ label, method });

export const from = (query, id) => ({ ...EMPTY, ...settings(query), like: [id] });
export const fromFiles = (query, files) => ({ ...EMPTY, ...settings(query), sent: files.map(keep) });
export const isEmpty = ({ sent: files, like }) => !files.length && !like.length;

/** Also like this one. */
export const add = (query, id) => (isEmpty(query) ? from(query, id) : {
  ...query, like: [...query.like.filter((other) => other !== id), id], unlike: query.unlike.filter((other) => other !== id),
});

/** Away from this one; the last one that the query is like stays. */
export function subtract(query, id) {
  const like = query.like.filter((other) => other !== id);
  if (!like.length && !query.sent.length) return from(query, id);
  return { ...query, like, unlike: [...query.unlike.filter((other) => other !== id), id] };
}

/** Without one of its parts: `{kind: "sent" | "like" | "unlike", number}`. */
export const without = (query, { kind, number }) => (
  { ...query, [kind]: query[kind].filter((other) => other !== number) });

/** All parts, in the order in which they are shown. */
export const parts = (query) => ["sent", "like", "unlike"]
  .flatMap((kind) => query[kind].map((number) => ({ kind, number })));

/** Path and options of the search; `form` holds the sent images' squares, or is null. */
export function request(query, method, k, offset, squares) {
  const [first, ...others] = squares.length ? [null, ...query.like] : query.like;
  const parameters = new URLSearchParams({ k, offset });
  for (const id of others) parameters.append("id", id);
  for (const id of query.unlike) parameters.append("minus", id);
  if (query.label) parameters.set("label", query.label);
  if (method) parameters.set("search", method);
  if (!squares.length) return [`images/${first}/similar?${parameters}`, {}];
  const body = new FormData();
  for (const square of squares) body.append("image", square, "square.png");
  return [`similar?${parameters}`, { method: "POST", body }];
}
