// What a view shows while it waits: the shape of what comes.

import { button, element } from "./element.js";

const line = (className) => element("div", { className: `skeleton ${className}`, "aria-hidden": "true" });

export const skeletonCards = (count) => element("div", { className: "images", "aria-hidden": "true" },
  ...Array.from({ length: count }, () => element("div", { className: "card" }, line("square"), line("text"))));

/** An empty answer, with a button to end the waiting. */
export const skeletonAnswer = (cancel) => [
  element("h2", { id: "answer-heading" }, "Looking …"), line("name"), line("text"), line("text"), line("text"),
  button("Cancel", cancel),
];
