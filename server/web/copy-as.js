// The same question as a command, as a program, and its answer as JSON, to be copied.

import { getKey } from "./api-key.js";
import { copyText } from "./clipboard.js";
import { button, element } from "./element.js";
import { sentImages } from "./query.js";

const NEIGHBORS = 6;

/** Buttons that copy. `list`: of the neighbors, null where there is no library. */
export function copyButtons(query, response, list) {
  const { milliseconds, ...classes } = response;
  const texts = {
    curl: () => asCurl(query, Boolean(list)),
    Python: () => asPython(query, Boolean(list)),
    JSON: () => JSON.stringify(list ? { classify: classes, similar: list.response } : classes, null, 2),
  };
  return element("p", { className: "copy row" }, element("span", { className: "quiet" }, "Copy as"),
    ...Object.entries(texts).map(([name, text]) => (
      button(name, (event) => copyText(text(), event.target), { "aria-label": `Copy as ${name}` }))));
}

const server = () => new URL(".", document.baseURI).href.replace(/\/$/, "");
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const fileName = (query) => sentImages.get(query.sent[0]).file.name || "image.png";

function asCurl(query, search) {
  const key = getKey() ? " -H \"X-API-Key: $ALEXNET_KEY\"" : "";
  const form = query.sent.length ? ` -F image=@${quoted(fileName(query))}` : "";
  const image = `${server()}/images/${query.like[0]}`;
  const commands = form ? [`curl${key}${form} ${server()}/classify`, `curl${key}${form} '${server()}/similar?k=${NEIGHBORS}'`]
    : [`curl -s${key} ${image}/image | curl${key} --data-binary @- ${server()}/classify`, `curl${key} '${image}/similar?k=${NEIGHBORS}'`];
  return commands.slice(0, search ? 2 : 1).join("\n");
}

function asPython(query, search) {
  const id = query.like[0];
  const image = query.sent.length ? `open(${JSON.stringify(fileName(query))}, "rb").read()`
    : `requests.get(f"{url}/images/${id}/image", headers=headers).content`;
  return ["import requests", "", `url = "${server()}"`, `headers = ${getKey() ? '{"X-API-Key": "..."}' : "{}"}`, `image = ${image}`,
    'answer = requests.post(f"{url}/classify", files={"image": image}, headers=headers).json()',
    'print(answer["predictions"][0]["name"])', ...(search ? [
      `found = requests.post(f"{url}/similar?k=${NEIGHBORS}", files={"image": image}, headers=headers).json()`,
      'for neighbor in found["neighbors"]:', '    print(neighbor["file"], neighbor["label"], neighbor["distance"])'] : [])].join("\n");
}
