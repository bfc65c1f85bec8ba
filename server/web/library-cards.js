// The cards of the library: select, relabel, delete and restore them, one or many.

import { request, updateImage } from "./api.js";
import { button, byId, count, element } from "./element.js";
import { entryName } from "./entry.js";
import { libraryCard } from "./library-card.js";
import { clearNotice, showError, showMessage } from "./notice.js";

const CONCURRENT_CHANGES = 4;

export class LibraryCards {
  /** `onChange()`: called when the counts of labels have changed. */
  constructor(onChange) {
    this.onChange = onChange;
    this.entries = [];
    this.cards = new Map();
    this.selected = new Set();
    this.last = null;
    this.list = element("ol", { className: "images library" });
    this.chosen = element("span", { role: "status" });
    this.toolbar = element("div", { className: "row selection", hidden: true }, this.chosen,
      button("Relabel …", () => this.relabel([...this.selected])), button("Delete", () => this.remove([...this.selected])),
      button("Select all shown", () => this.select(this.visible(), true)), button("Clear", () => this.select([...this.selected], false)));
  }

  add(entries) {
    for (const entry of entries.filter(({ id }) => !this.cards.has(id))) {
      const card = libraryCard(entry, this);
      this.cards.set(entry.id, card);
      this.entries.push(entry);
      this.list.append(card.item);
    }
  }

  visible() {
    return this.entries.map(({ id }) => id).filter((id) => !this.cards.get(id).item.hidden);
  }

  /** A box was ticked; with `range` all between it and the one before. */
  tick(id, on, range) {
    const ids = this.visible();
    const [from, to] = [ids.indexOf(this.last), ids.indexOf(id)].sort((a, b) => a - b);
    this.select(range && from >= 0 ? ids.slice(from, to + 1) : [id], on);
    this.last = id;
  }

  select(ids, on) {
    for (const id of ids) {
      if (on) this.selected.add(id);
      else this.selected.delete(id);
      this.cards.get(id).tick(on);
    }
    const focused = this.toolbar.contains(document.activeElement);
    this.toolbar.hidden = !this.selected.size;
    if (focused && this.toolbar.hidden) this.list.querySelector(".card:not([hidden]) input")?.focus({ preventScroll: true });
    this.list.classList.toggle("selecting", this.selected.size > 0);
    this.chosen.textContent = `${this.selected.size.toLocaleString("en")} selected`;
  }

  /** Ask for a label, and give it to images. */
  async relabel(ids) {
    const labels = new Set(ids.map((id) => this.cards.get(id).entry.label));
    const label = await askForLabel(this.nameOf(ids), labels.size === 1 ? [...labels][0] ?? "" : "");
    if (label === null) return;
    await this.change(ids, async (id) => {
      this.cards.get(id).setLabel((await updateImage(id, { label: label || null })).label);
    }, null, (changed) => showMessage(`${this.nameOf(changed)}: ${label ? `labeled “${label}”` : "label removed"}.`));
  }

  /** Delete images, and offer to restore them. */
  async remove(ids) {
    await this.change(ids, async (id) => {
      await request(`images/${id}`, { method: "DELETE" }).catch((error) => {
        if (error.status !== 404) throw error; // somebody else deleted it
      });
      this.cards.get(id).item.hidden = true;
    }, (removed) => ["Undo", () => this.restore(removed)],
    (removed, undo) => showMessage(`${this.nameOf(removed)} deleted.`, undo));
  }

  async restore(ids) {
    await this.change(ids, async (id) => {
      await updateImage(id, { removed: false });
      this.cards.get(id).item.hidden = false;
    }, null, (restored) => this.cards.get(restored[0]).item.querySelector("a").focus());
  }

  /**
   * Do the same to several images, some at a time, then `say(ids, action)` of those that it was done to. An error ends it,
   * and is shown. `actionOf(ids)`: a name and a function that undoes it; null: none. `before`: what an earlier try has done.
   * An image that somebody else deleted is hidden, and the others go on.
   */
  async change(ids, work, actionOf, say, before = []) {
    clearNotice();
    const waiting = [...ids];
    const [done, gone] = [[...before], []];
    let failure;
    const run = async () => {
      while (waiting.length && !failure) {
        const id = waiting.shift();
        await work(id).then(() => done.push(id), (error) => {
          if (error.status === 404) {
            gone.push(id);
            return;
          }
          waiting.push(id);
          failure ??= error;
        });
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT_CHANGES }, run));
    for (const id of gone) this.cards.get(id).item.hidden = true;
    this.select([...done, ...gone], false);
    if (done.length > before.length || gone.length) this.onChange();
    const action = actionOf && done.length ? actionOf(done) : null;
    if (failure) showError(failure, () => this.change(waiting, work, actionOf, say, done), action);
    else if (done.length) say(done, action);
    else showMessage(`${this.nameOf(gone)}: already deleted elsewhere.`);
  }

  nameOf(ids) {
    return ids.length === 1 ? entryName(this.cards.get(ids[0]).entry) : count(ids.length, "image");
  }
}

/** The label that the user types, "" for none; null if the dialog is cancelled. */
function askForLabel(name, label) {
  const dialog = byId("relabel");
  byId("relabel-heading").textContent = `Label of ${name}`;
  byId("relabel-input").value = label;
  dialog.returnValue = "";
  dialog.showModal();
  byId("relabel-input").select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const typed = byId("relabel-input").value.trim();
      resolve({ save: typed || null, none: "" }[dialog.returnValue] ?? null);
    }, { once: true });
  });
}
