"""Odd parameters, labels and keys: what the response is, how long it takes, how much memory the server has."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from urllib.parse import quote

from tests.cases.attack.harness import Server, copy_index, first_image, multipart, report, run_parts

PORT = 8609
IDS = range(1, 240)
SEARCHES = (
    "k=0", "k=-1", "k=1000000", "k=9999999999999999999999", "k=1e3", "k=nan", "offset=-1",
    "offset=9223372036854775807", "offset=9223372036854775808", "max_distance=nan", "max_distance=-1",
    "max_distance=inf", "max_distance=1e400", "label=", f"label={'a' * 5000}", "label=%00", "search=x", "k=6&k=7",
    "id=1&id=1&id=1", "minus=1", "id=" + "&id=".join(["1"] * 2000), "minus=" + "&minus=".join(map(str, IDS)), "id=0",
    "id=-1", "id=99999999999999999999",
)  # fmt: skip
PAGES = (
    "limit=0", "limit=1001", "limit=-1", "cursor=-1", "cursor=9223372036854775807", "cursor=9223372036854775808",
    "cursor=abc", f"label={quote(chr(39) + ' OR 1=1 --')}",
)  # fmt: skip
TIMEOUTS = ("nan", "inf", "-1", "0", "1e-9", "1e308", "abc", "")
FORMS: dict[str, list[tuple[str, str]]] = {
    "a label of 1 kB": [("label", "x" * 1000)],
    "a label of 900 kB": [("label", "x" * 900_000)],
    "a label of 2 MB": [("label", "x" * 2_000_000)],
    "a NUL in the label": [("label", "a\0b")],
    "two labels": [("label", "a"), ("label", "b")],
    "an empty label": [("label", "")],
    "a label of blanks": [("label", "   ")],
    "a key of 900 kB": [("key", "k" * 900_000)],
    "a NUL in the key": [("key", "a\0b")],
    "ESC in the label": [("label", "\x1b]0;x\x07")],
    "a label that isn't UTF-8": [("label", "INVALID")],
}

server = Server(PORT, copy_index("index_parameters"), log="parameters.log")


def send(
    method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, name: str = ""
) -> None:
    start = time.monotonic()
    outcome: object
    try:
        response = server.request(method, path, body, headers)
        outcome = response.status, len(response.body), response.body[:140]
    except (OSError, http.client.HTTPException) as error:
        outcome = repr(error)[:80]
    report(f"{name or f'{method} {path[:60]}':65} {time.monotonic() - start:5.2f} s, rss {server.rss}", outcome)


def queries() -> None:
    for query in SEARCHES:
        send("GET", f"/images/1/similar?{query}")
    for query in PAGES:
        send("GET", f"/images?{query}")
    for value in TIMEOUTS:
        send("POST", "/classify", first_image(), {"X-Request-Timeout": value}, f"X-Request-Timeout {value!r}")


def forms() -> None:
    for name, fields in FORMS.items():
        body, headers = multipart([first_image() + os.urandom(8)], fields)
        send("POST", "/images", body.replace(b"INVALID", b"\xe9\xff"), headers, f"add with {name}")
    labels = [entry["label"] for entry in server.get_json("/labels")["labels"]]
    report("longest label:", max(map(len, labels)), "characters;", labels)


if __name__ == "__main__":
    run_parts(queries, forms)
    report(server.failures(), server.terminate())
