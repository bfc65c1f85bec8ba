"""Somebody else's page, open in the same browser: it adds nothing to the index and takes nothing away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.helpers.drawings import encode

ASK = """async ([url, bytes]) => {
  const form = new FormData();
  form.append("image", new Blob([new Uint8Array(bytes)]), "a.png");
  await fetch(url, {method: "POST", mode: "no-cors", body: form}).catch(() => {});  // it may not see the answer
}"""


class _Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[str]:
    """Another origin on the same machine, so that the browser's own rules about networks don't block the request."""
    with HTTPServer(("127.0.0.1", 0), _Foreign) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_can_add_nothing(browser: Browser, url: str, foreign: str) -> None:
    def count() -> int:
        return int(httpx2.get(f"{url}/info").json()["index"]["size"])

    image = list(encode(np.full((60, 60, 3), 77, np.uint8), "PNG"))
    before, page = count(), browser.new_page()
    page.goto(foreign)
    page.evaluate(ASK, [f"{url}/images", image])
    page.close()
    assert count() == before
    assert 'code="cross_origin"' in httpx2.get(f"{url}/metrics").text  # the request arrived and was refused
    added = httpx2.post(f"{url}/images", files={"image": bytes(image)}).json()["images"][0]
    assert count() == before + 1  # without an origin, the same image is added
    httpx2.delete(f"{url}{added['url']}").raise_for_status()
