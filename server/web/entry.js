// An entry of the library: what it is called, and who made it.

import { element } from "./element.js";

/** The name of an entry for people: its file's, or its own, or its number. */
export const entryName = ({ id, file, key }) => file ?? key ?? `image ${id}`;

/** Who made an image, and under which terms it is here; null if nothing is known. */
export function credit({ attribution }) {
  if (!attribution) return null;
  const { author, author_page: authorPage, page, license } = attribution;
  const line = element("small", { className: "credit" }, element("span", {}, "by ", external(authorPage, author || "unknown"), license ? "," : ""));
  if (license) line.append(element("span", {}, " ", external(page, license)));
  line.title = line.textContent;
  return line;
}

function external(address, text) {
  if (!/^https?:/.test(address ?? "")) return text;
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text);
}
