// Errors in the page's own words, by the server's error codes.

/** The formats that the server's message names, without those that it would read with extras. */
function formats(message) {
  return /format \(([^);]+)/.exec(message)?.[1].replace(/, ([^,]+)$/, " or $1") ?? "JPEG or PNG";
}

/** A number of the server's message as megabytes, or "". */
function megabytes(message) {
  const bytes = Number(/([\d,]+) bytes/.exec(message)?.[1].replaceAll(",", ""));
  return bytes ? `, more than ${Math.floor(bytes / 2 ** 20) || 1} MB` : "";
}

/** Which image isn't there, by the server's message: none has its id, or its file is gone. */
function unknown(message) {
  const [id] = /\bid \d+$/.exec(message) ?? [];
  return id ? `The library has no image with the ${id}: it may have been deleted` : "The file of that image is gone or damaged";
}

function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

const ONE_OF_THEM = "One of the files";

/** By code: a function of the file's name (or "The image") and the server's message. */
const TEXTS = {
  body_too_large: (file, message) => (file === ONE_OF_THEM
    ? `Together the files are too large for this server${megabytes(message)}. Choose fewer.`
    : `${file} is too large for this server${megabytes(message)}. Choose a smaller file.`),
  image_too_large: (file) => `${file} has too many pixels for this server. Save it smaller and try again.`,
  unsupported_image: (file, message) => `${file} isn't an image that this server can read. Use ${formats(message)}.`,
  invalid_image: (file) => `${file} is damaged or incomplete. Open it in another program and save it again.`,
  missing_body: (file) => `${file} is empty.`,
  inference_failed: (file) => `${file} can't be classified: the network failed on it. The server's log says why.`,
  request_timeout: (file) => `${file} took too long to arrive. Try again, or use a smaller file.`,
  deadline_exceeded: () => "The server ran out of time for this. Try again.",
  overloaded: () => "The server is busy.",
  rate_limited: () => "That was faster than this server allows.",
  unreadable_answer: () => "The answer was cut off, or a proxy sent a page of its own. Try again; reload the page if that doesn't help.",
  unreachable: () => "The server can't be reached.",
  unreadable_file: (file) => `${file} can't be read. Check that it's a file, not a folder, that it's still there and that you may open it, then choose it again.`,
  unauthorized: () => "This server needs an API key.",
  forbidden: () => "Your API key isn't allowed to do that.",
  cross_origin: () => "The server refused a request from another site's page. Open this page at the server's own address.",
  host_not_allowed: () => "The server doesn't recognize this host name. Use its address, or allow the name with --allowed-hosts.",
  no_index: () => "This server has no library to search.",
  no_kernels: () => "This network has no drawing of its kernels.",
  unknown_image: (file, message) => `${unknown(message)}. Choose another image in the library.`,
  not_found: () => "The server doesn't have this. Reload the page: it may be from another version.",
  read_only_index: () => "This library can't be changed: the server opened it read-only.",
  index_locked: () => "Another program is changing the library. Nothing was changed; try again in a moment.",
  index_unavailable: () => "The library isn't responding. Try again in a moment.",
  storage_full: () => "The server's disk is full. Nothing was changed.",
  invalid_request: (file, message) => sentence(message.replace(/\b(in|of) the index\b/, "$1 the library")),
  internal_error: () => "Something failed in the server. Its log says what.",
};

/** What an error says to a person. `file`: what to call the file. */
export function errorText(error, file = fileOf(error)) {
  const text = TEXTS[error.code];
  return text ? text(file, error.message) : sentence(error.message);
}

function fileOf({ subject, several }) {
  if (several) return ONE_OF_THEM;
  return subject ? `“${subject}”` : "The image";
}
