// The server's HTTP API: requests with the API key, errors, timings.

import { getKey, promptForKey } from "./api-key.js";
import { byName } from "./element.js";

/**
 * `status` 0: no answer; 400 also where nothing could be sent. `retryAfter`: seconds; null: a retry won't help.
 * `subject`: the file's name; `several`: it is about one of several files, or all of them.
 */
export class ApiError extends Error {
  constructor(message, status, code = "", retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter, subject: "", several: false });
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
    if (options.body instanceof FormData) await checkReadable(options.body.getAll("image"));
    throw new ApiError("the server can't be reached", 0, "unreachable", 3);
  }
  if (response.ok) return response;
  const error = await parseError(response);
  if (["unauthorized", "forbidden"].includes(error.code) && await promptForKey(error.code, key)) return request(path, options);
  throw error;
}

export const fetchJson = async (path, options) => readJson(await request(path, options));

/** The JSON of a response. Throws ApiError where it was cut off, or where a proxy sent its own page. */
export async function readJson(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("no JSON", 502, "unreadable_answer");
  }
}

/** The answer of `/classify` to a file, with `milliseconds` of inference. Throws ApiError. */
export async function classify(file, signal) {
  const response = await request("classify?top=10", { method: "POST", body: imageForm([file]), signal });
  return { ...await readJson(response), milliseconds: timings(response).inference };
}

/** A file as the network sees it, as a PNG. Throws ApiError. */
export const fetchPreview = async (file, signal) => (
  await request("preview", { method: "POST", body: imageForm([file]), signal })).blob();

/** The labels of the library with their counts, by name; none without a library. Throws ApiError. */
export async function fetchLabels({ index }, signal) {
  const { labels } = index ? await fetchJson("labels", { signal }) : { labels: [] };
  return labels.sort((a, b) => byName(a.label, b.label));
}

/** A form with image files, or blobs. */
export function imageForm(files) {
  const form = new FormData();
  for (const file of files) form.append("image", file, file.name ?? "image");
  return form;
}

/** Update an indexed image: `{label}` or `{removed}`. */
export const updateImage = (id, update) => fetchJson(`images/${id}`, {
  method: "PATCH", body: JSON.stringify(update), headers: { "Content-Type": "application/json" },
});

/** Milliseconds by phase: decode, queue, inference, search, total. */
export function timings(response) {
  const header = response.headers.get("Server-Timing") ?? "";
  return Object.fromEntries([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, phase, dur]) => [phase, Number(dur)]));
}

/** Throw ApiError for a file that can't be read, of which the browser says no more than of a server that can't be reached. */
async function checkReadable(files) {
  for (const file of files) {
    await file.slice(0, 1).arrayBuffer().catch(() => {
      throw Object.assign(new ApiError("the file can't be read", 400, "unreadable_file"), { subject: file.name });
    });
  }
}

async function parseError(response) {
  const { message, code } = await response.json().then((body) => body.error, () => ({})) ?? {};
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = [429, 503].includes(response.status) ? seconds || 1 : null;
  return new ApiError(message ?? `the server, or a proxy in front of it, failed with status ${response.status}`, response.status, code, retryAfter);
}
