// The same question as a command, as a program, and its answer as JSON, to be copied.

import { getKey } from "./api-key.js";
import { copyText } from "./clipboard.js";
import { button, element } from "./element.js";
import { buildRequest, sentImages } from "./query.js";

const NEIGHBORS = 6;

/** Buttons that copy. `list`: of the neighbors, null where there is no library. `isThumbnail`: whether the answer is to a thumbnail. */
export function copyButtons(query, response, list, isThumbnail) {
  const image = isThumbnail ? "thumbnail" : "image";
  const { milliseconds, ...classes } = response;
  const texts = {
    curl: () => asCurl(query, Boolean(list), image),
    Python: () => asPython(query, Boolean(list), image),
    JSON: () => JSON.stringify(list ? { classify: classes, similar: list.response } : classes, null, 2),
  };
  return element("p", { className: "copy row" }, element("span", { className: "quiet" }, "Copy as"),
    ...Object.entries(texts).map(([name, text]) => (
      button(name, (event) => copyText(text(), event.target), { "aria-label": `Copy as ${name}` }))));
}

const server = () => new URL(".", document.baseURI).href.replace(/\/$/, "");
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** As curl wants a name that has signs of its own syntax. */
const curlName = (name) => (/[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);
const fileNames = (query) => query.sent.map((number) => sentImages.get(number).file.name || "image.png");

/** The path of the search, with all of the query but its files. */
const searchPath = (query) => buildRequest(query, query.mode === "both" ? "exact" : query.mode, NEIGHBORS, null)[0];

function asCurl(query, search, image) {
  const key = getKey() ? " -H \"X-API-Key: $ALEXNET_KEY\"" : "";
  const forms = fileNames(query).map((name) => ` -F ${quoted(`image=@${curlName(name)}`)}`);
  const classify = forms.length ? `curl${key}${forms[0]} ${server()}/classify`
    : `curl -sf${key} ${server()}/images/${query.like[0]}/${image} | curl${key} --data-binary @- ${server()}/classify`;
  return [classify, ...(search ? [`curl${key}${forms.join("")} ${quoted(`${server()}/${searchPath(query)}`)}`] : [])].join("\n");
}

function asPython(query, search, image) {
  const files = fileNames(query).map((name) => `open(${JSON.stringify(name)}, "rb").read()`);
  const images = files.length ? files : [`requests.get(f"{url}/images/${query.like[0]}/${image}", headers=headers).content`];
  const found = files.length ? `requests.post(f"{url}/${searchPath(query)}", files=images, headers=headers)`
    : `requests.get(f"{url}/${searchPath(query)}", headers=headers)`;
  return ["import requests", "", `url = "${server()}"`, `headers = ${getKey() ? '{"X-API-Key": "..."}' : "{}"}`,
    `images = [${images.map((image) => `("image", ${image})`).join(", ")}]`,
    'answer = requests.post(f"{url}/classify", files=images[:1], headers=headers).json()',
    'print(answer["predictions"][0]["name"])', ...(search ? [
      `found = ${found}.json()`,
      'for neighbor in found["neighbors"]:', '    print(neighbor["file"], neighbor["label"], neighbor["distance"])'] : [])].join("\n");
}
