// The server's HTTP API: requests with the API key, errors, timings.

import { getKey, promptForKey } from "./api-key.js";

/** `status` 0: the server can't be reached. `retryAfter`: seconds; null: a retry won't help. */
export class ApiError extends Error {
  constructor(message, status, code = "", retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** The response if it is successful. Throws ApiError. */
export async function request(path, options = {}) {
  const key = getKey();
  const headers = key ? { ...options.headers, "X-API-Key": key } : options.headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server can't be reached.", 0, "", 3);
  }
  if (response.ok) return response;
  const error = await parseError(response);
  if (["unauthorized", "forbidden"].includes(error.code) && await promptForKey(error.message, key)) return request(path, options);
  throw error;
}

export const fetchJson = async (path, options) => (await request(path, options)).json();

/** Update an indexed image: `{label}` or `{removed}`. */
export const updateImage = (id, update) => fetchJson(`images/${id}`, {
  method: "PATCH", body: JSON.stringify(update), headers: { "Content-Type": "application/json" },
});

/** Milliseconds by phase: decode, queue, inference, search, total. */
export function timings(response) {
  const header = response.headers.get("Server-Timing") ?? "";
  return Object.fromEntries([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, phase, dur]) => [phase, Number(dur)]));
}

/** Show an image of the server, with the API key if there is one. */
export async function showImage(image, path) {
  if (!getKey()) {
    image.src = path;
    return;
  }
  try {
    showBlob(image, await (await request(path)).blob());
  } catch {
    image.classList.add("missing");
  }
}

/** Show a local image; its object URL is revoked when it is decoded. */
export function showBlob(image, blob) {
  image.src = URL.createObjectURL(blob);
  return image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(image.src));
}

async function parseError(response) {
  const { message, code } = await response.json().then((body) => body.error, () => ({})) ?? {};
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = [429, 503].includes(response.status) ? seconds || 1 : null;
  return new ApiError(message ?? `The server returned status ${response.status}.`, response.status, code, retryAfter);
}
