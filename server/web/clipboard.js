// Copying text, also where the page has no secure origin.

import { byId, element } from "./element.js";

/** Copy text, and say so on the button that was pressed. */
export async function copyText(text, button) {
  const done = await copy(text, button.closest("dialog") ?? document.body);
  button.dataset.text ??= button.textContent;
  button.textContent = done ? "Copied" : "Not allowed";
  byId("status").textContent = button.textContent; // its label hides what it says from screen readers
  setTimeout(() => { button.textContent = button.dataset.text; }, 1500);
}

async function copy(text, parent) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { value: text, className: "visually-hidden" });
    parent.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
