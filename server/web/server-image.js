// Images of the server in the page: fetched with the API key if there is one, and again from a server that is busy.

import { getKey } from "./api-key.js";
import { request } from "./api.js";
import { wait } from "./wait.js";

const MAX_RETRIES = 4;
const DISTANCE = 600;

const near = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter(({ isIntersecting }) => isIntersecting)) {
    near.unobserve(target);
    starts.get(target)();
  }
}, { rootMargin: `${DISTANCE}px` });
const starts = new WeakMap();

/** Show a thumbnail; one that the server refuses, perhaps because it is busy, is asked for again after a while. */
export async function showThumbnail(image, id) {
  const path = `images/${id}/thumbnail`;
  if (getKey()) await new Promise((resolve) => { starts.set(image, resolve); near.observe(image); }); // as loading="lazy"
  for (let retries = 0; !await showImage(image, path); retries += 1) {
    if (retries === MAX_RETRIES) return;
    await wait(2 ** retries * (0.5 + Math.random())); // not all at once
    if (!image.isConnected) return;
  }
}

/** Show an image. Resolves to whether it can be shown. */
export async function showImage(image, path) {
  const shown = await (getKey() ? loadWithKey(image, path) : loadDirectly(image, path));
  image.classList.toggle("missing", !shown);
  return shown;
}

async function loadWithKey(image, path) {
  try {
    return await showBlob(image, await (await request(path)).blob());
  } catch {
    return false;
  }
}

function loadDirectly(image, path) {
  return new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = path;
  });
}

/** Show a file or blob. Resolves to whether the browser can; then its object URL is revoked. */
export function showBlob(image, blob) {
  image.src = URL.createObjectURL(blob);
  return image.decode().then(() => true, () => false).finally(() => URL.revokeObjectURL(image.src));
}
