// Infinite scroll: the next page of a list by a button, or near its end.

import { button } from "./element.js";
import { showError } from "./notice.js";

const DISTANCE = 600;

/** Load pages until the view can be scrolled to where it was; `more` is their button. */
export async function loadTo(scroll, load, more) {
  while (!more.hidden && document.documentElement.scrollHeight < scroll + innerHeight) more.hidden = !(await load());
}

/** A button below a list. `load()` appends a page, and resolves to whether there are more. */
export function moreButton(load, signal) {
  let loading = false;
  let failed = false;
  const more = button("Show more", next, { className: "more" });

  async function next() {
    if (loading || more.hidden) return;
    loading = true;
    more.setAttribute("aria-busy", "true");
    try {
      more.hidden = !(await load());
      failed = false;
    } catch (error) {
      failed = true;
      showError(error, next);
    } finally {
      loading = false;
      more.removeAttribute("aria-busy");
    }
  }

  addEventListener("scroll", () => {
    const near = more.offsetParent && more.getBoundingClientRect().top < innerHeight + DISTANCE;
    if (near && scrollY > 0 && !failed) next(); // a busy server isn't asked again at every step
  }, { passive: true, signal });
  return more;
}
