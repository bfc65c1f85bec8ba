// The page: a picture goes to /classify and /similar; a click on a neighbour searches from it, and its id is the
// address (#17), which can be shared and gone back to.

const element = (id) => document.getElementById(id);
const [drop, file, preview, message] = ["drop", "file", "preview", "message"].map(element);

/** Fetch JSON; the server's own words become the error. */
async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Error("The server can't be reached.");
  }
  const body = await response.json();
  if (!response.ok) throw new Error(body.error.message);
  return body;
}

function say(text, isError = false) {
  message.textContent = text;
  message.classList.toggle("error", isError);
}

function show(url) {
  preview.src = url;
  preview.alt = "The picture that was asked about";
  preview.hidden = false;
  element("invitation").hidden = true;
}

function showClasses(predictions) {
  element("classes").replaceChildren(...predictions.map(({ name, probability }) => {
    const item = document.createElement("li");
    const line = document.createElement("span");
    line.className = "name";
    const percent = `${(100 * probability).toFixed(1)} %`;
    line.append(Object.assign(document.createElement("span"), { textContent: name }), percent);
    const bar = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: probability });
    bar.setAttribute("aria-label", `${name}: ${percent}`);
    item.append(line, bar);
    return item;
  }));
}

function showNeighbours(neighbours, title = "Most similar pictures") {
  element("neighbours-heading").textContent = title;
  element("neighbours").replaceChildren(...neighbours.map(({ id, distance, label, thumbnail }) => {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(
      Object.assign(document.createElement("img"), { src: thumbnail, alt: "", loading: "lazy" }),
      label ?? `picture ${id}`,
    );
    if (distance !== undefined) {
      button.append(Object.assign(document.createElement("small"), { textContent: `distance ${distance.toFixed(2)}` }));
    }
    button.addEventListener("click", () => { location.hash = id; });
    item.append(button);
    return item;
  }));
}

async function askAbout(blob, id = "") {
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  show(URL.createObjectURL(blob));
  say("Looking …");
  const started = performance.now();
  const request = { method: "POST", body: blob, headers: { "Content-Type": blob.type || "application/octet-stream" } };
  try {
    const { predictions, image } = await ask("classify", request);
    showClasses(predictions);
    if (!element("neighbours-section").hidden) showNeighbours((await ask("similar", request)).neighbours);
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    say(`${image.format}, ${image.width} × ${image.height}, answered in ${seconds} s.`);
  } catch (error) {
    showClasses([]);
    showNeighbours([]);
    say(error.message, true);
  }
}

async function searchFrom(id) {
  try {
    const picture = await ask(`pictures/${id}`);
    const blob = await (await fetch(picture.image)).blob();
    if (blob.type.startsWith("image/")) {
      await askAbout(blob, id);
    } else { // the file is gone: its thumbnail and its stored features are left
      show(picture.thumbnail);
      showClasses([]);
      showNeighbours((await ask(picture.similar)).neighbours);
      say("The file of this picture is no longer where it was indexed.");
    }
    scrollTo({ top: 0 });
  } catch (error) {
    say(error.message, true);
  }
}

/** Some pictures of the index, evenly spread, to start from. */
async function offerPictures(size) {
  const ids = Array.from({ length: Math.min(6, size) }, (_, i) => 1 + Math.floor((i + 0.5) * size / 6) % size);
  const pictures = await Promise.all([...new Set(ids)].map((id) => ask(`pictures/${id}`)));
  showNeighbours(pictures, "Or start from one of these");
}

function followAddress() {
  if (/^#\d+$/.test(location.hash)) searchFrom(location.hash.slice(1));
}

addEventListener("hashchange", followAddress);
file.addEventListener("change", () => file.files[0] && askAbout(file.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) askAbout(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => event.clipboardData.files[0] && askAbout(event.clipboardData.files[0]));

ask("info").then(({ model, classes, device, index }) => {
  const pictures = index ? `${index.size.toLocaleString()} pictures indexed` : "no index";
  element("loaded").textContent = `${model.name}, version ${model.version}: ${classes} classes, on ${device}; ${pictures}`;
  element("neighbours-section").hidden = !index;
  if (location.hash) followAddress();
  else if (index) offerPictures(index.size);
}, (error) => { element("loaded").textContent = error.message; });
