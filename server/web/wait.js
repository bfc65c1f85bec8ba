// Waiting, as long as somebody still wants what is waited for.

/** Resolves after some seconds, or at once when `signal` is aborted. */
export const wait = (seconds, signal = null) => new Promise((resolve) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  if (signal?.aborted) resolve();
});
