// The server's HTTP interface: requests with the key, errors in the server's own words, times.

import { askForKey, key } from "./key.js";

/** `status` 0: the server can't be reached. `retryAfter`: seconds; null: asking again won't help. */
export class Refusal extends Error {
  constructor(message, status, code = "", retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** The response, if it is a good one. Raises Refusal. */
export async function ask(path, options = {}) {
  const used = key();
  const headers = used ? { ...options.headers, "X-API-Key": used } : options.headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server can't be reached.", 0, "", 3);
  }
  if (response.ok) return response;
  const refusal = await refusalOf(response);
  if (["unauthorized", "forbidden"].includes(refusal.code) && await askForKey(refusal.message, used)) return ask(path, options);
  throw refusal;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** A change of an indexed image: `{label}` or `{removed}`. */
export const change = (id, changes) => askJson(`images/${id}`, {
  method: "PATCH", body: JSON.stringify(changes), headers: { "Content-Type": "application/json" },
});

/** Milliseconds by phase: decode, queue, inference, search, total. */
export function times(response) {
  const header = response.headers.get("Server-Timing") ?? "";
  return Object.fromEntries([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, phase, dur]) => [phase, Number(dur)]));
}

/** Show an image of the server's, with the key where there is one. */
export async function showImage(image, path) {
  if (!key()) {
    image.src = path;
    return;
  }
  try {
    showBlob(image, await (await ask(path)).blob());
  } catch {
    image.classList.add("missing");
  }
}

/** Show an image that is here; its address is let go of when it was drawn. */
export function showBlob(image, blob) {
  image.src = URL.createObjectURL(blob);
  return image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(image.src));
}

async function refusalOf(response) {
  const { message, code } = await response.json().then((body) => body.error, () => ({})) ?? {};
  const wait = Number(response.headers.get("Retry-After"));
  const retryAfter = response.status === 503 ? wait || 1 : null;
  return new Refusal(message ?? `The server answered ${response.status}.`, response.status, code, retryAfter);
}
