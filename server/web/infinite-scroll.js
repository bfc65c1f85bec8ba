// Infinite scroll: loads the next page of a list with a button, or when the user scrolls near its end.

import { showError } from "./notice.js";

const DISTANCE = 400;

/** `load()` appends a page, and resolves to whether there are more. */
export class InfiniteScroll {
  constructor(button, load) {
    Object.assign(this, { button, load, loading: false, list: 0 });
    button.addEventListener("click", () => this.next());
    addEventListener("scroll", () => {
      const near = button.offsetParent && button.getBoundingClientRect().top < innerHeight + DISTANCE;
      if (near && scrollY > 0) this.next();
    }, { passive: true });
  }

  /** Begin another list. `available`: whether it has a next page. */
  reset(available) {
    this.list += 1;
    this.loading = false;
    this.button.hidden = !available;
  }

  async next() {
    if (this.loading || this.button.hidden) return;
    const { list } = this;
    this.loading = true;
    try {
      const available = await this.load();
      if (list === this.list) this.button.hidden = !available;
    } catch (error) {
      showError(error, () => this.next());
    } finally {
      if (list === this.list) this.loading = false;
    }
  }
}
