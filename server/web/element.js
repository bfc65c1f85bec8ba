// Elements of the page: looked up by id, or created; numbers and names as they are written.

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

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

export const button = (text, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, text);

/** A section with a heading, whose id is `id`. */
export const section = (id, title, ...children) => (
  element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children));

/** Terms and values of a list of facts; what is null, undefined, empty or 0 is left out. */
export const terms = (facts) => Object.entries(facts).filter(([, value]) => ![null, undefined, "", 0].includes(value))
  .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]);

/** What may be wider than its section: it scrolls by itself. */
export const scrollable = (id, content) => (
  element("div", { className: "wide", tabIndex: 0, role: "group", "aria-labelledby": id }, content));

export const quiet = (text) => element("p", { className: "quiet" }, text);

export const hidden = (text) => element("span", { className: "visually-hidden" }, text);

export const count = (number, noun, plural = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;

/** Whether there is room for what is folded on narrow screens. */
export const isWide = () => matchMedia("(min-width: 48.01rem)").matches;

/** How names are ordered everywhere: by their numbers, whatever the case. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;

/** A share of 1 to read at a glance: 92 %, 4.1 %. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1\u00a0%";
  const digits = share >= 0.995 && share < 0.9995 ? 1 : Number(share < 0.0995);
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** A share of 1 as it is: 92.31 %. */
export const exactPercent = (share) => `${(100 * share).toFixed(2)}\u00a0%`;

/** A name from the server: no line break before a percent sign, and if it is written from right to left, it turns nothing around it. */
export function tidy(name) {
  const text = name.replace(/ %/g, "\u00a0%");
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

/** A bar of a share of its row; `value`: what a screen reader and the tip say. */
export function meter(share, name, value) {
  const bar = element("div", {
    className: "meter", role: "meter", "aria-label": name, "aria-valuenow": Math.round(100 * share), "aria-valuetext": value, "data-tip": value,
  }, element("span"));
  bar.firstChild.style.setProperty("--share", `${100 * share}%`);
  return bar;
}
