// Elements of the page: looked up by id, or created.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`onclick` too), attributes (names with a dash, or that are no property) and children. */
export function element(name, properties = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key.includes("-") || key === "list" || !(key in created)) created.setAttribute(key, value);
    else created[key] = value;
  }
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
