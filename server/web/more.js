// The next page of a list: by a button, or when one scrolls near it.

import { explain } from "./notice.js";

const NEAR = 400;

/** `load()` adds a page, and says whether there are more. */
export class More {
  constructor(button, load) {
    Object.assign(this, { button, load, loading: false, list: 0 });
    button.addEventListener("click", () => this.next());
    addEventListener("scroll", () => {
      const near = button.offsetParent && button.getBoundingClientRect().top < innerHeight + NEAR;
      if (near && scrollY > 0) this.next();
    }, { passive: true });
  }

  /** Another list: whether it has a next page. */
  begin(available) {
    this.list += 1;
    this.loading = false;
    this.button.hidden = !available;
  }

  async next() {
    if (this.loading || this.button.hidden) return;
    const { list } = this;
    this.loading = true;
    try {
      const going = await this.load();
      if (list === this.list) this.button.hidden = !going;
    } catch (error) {
      explain(error, () => this.next());
    } finally {
      if (list === this.list) this.loading = false;
    }
  }
}
