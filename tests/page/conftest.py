"""The page in a real browser, Debian's Chromium, against a real server in a thread of this process."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from model.artifacts.artifact import Artifact
from server.service import Service
from server.settings import Settings
from tests.helpers.server import HTTP_OPTIONS, served_in_thread

WIDE = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PATIENCE = 30_000
"""Milliseconds to wait for a condition: the test machine may be slow and busy."""

SCREENSHOTS = Path(__file__).parents[2] / "build" / "page"
"""Continuous integration keeps this folder."""

RESULTS = ".results .card"
HAND_OVER = """([event, files]) => {
  const data = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name, {type: "image/jpeg"}));
  }
  const options = {bubbles: true, cancelable: true};
  document.body.dispatchEvent(event === "paste"
    ? new ClipboardEvent("paste", {...options, clipboardData: data})
    : new DragEvent(event, {...options, dataTransfer: data}));
}"""

OpenPage = Callable[..., Page]
NewContext = Callable[..., BrowserContext]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed after this package's tests: while it is open, no test in this thread can run an event loop of its own."""
    executable = shutil.which("chromium")
    assert executable, "chromium is not on PATH: `make chromium` installs it"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def new_context(browser: Browser) -> Iterator[NewContext]:
    """`new_context(**options)`: one per set of options; each page has its own session storage anyway."""
    contexts = dict[str, BrowserContext]()

    def find(**options: Any) -> BrowserContext:
        if repr(options) not in contexts:
            contexts[repr(options)] = browser.new_context(**(WIDE | {"reduced_motion": "reduce"} | options))
            contexts[repr(options)].set_default_timeout(PATIENCE)
        return contexts[repr(options)]

    yield find
    for context in contexts.values():
        context.close()


@pytest.fixture
def open_page(new_context: NewContext) -> Iterator[OpenPage]:
    """`open_page(url, **options)`: a new tab, in which no script may fail and the CSP may block nothing."""
    pages, faults = [], list[str]()

    def open_tab(url: str, **options: Any) -> Page:
        page = new_context(**options).new_page()
        pages.append(page)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(url)
        return page

    yield open_tab
    for page in pages:
        page.close()
    assert not faults


@contextmanager
def serve_page(artifact: Artifact, index: Path | None, **settings: Any) -> Iterator[str]:
    """The address of a ready server in a thread."""
    service = Service(Settings(artifact=artifact.path, index=index and str(index), **settings))
    with served_in_thread(service, **HTTP_OPTIONS) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serve_copy(artifact: Artifact, index: Path, folder: Path, **settings: Any) -> Iterator[str]:
    """As `serve_page`, with a copy of `index` in `folder`, which tests may change."""
    with serve_page(artifact, Path(shutil.copytree(index, folder / "index")), **settings) as address:
        yield address


@pytest.fixture(scope="package")
def url(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the small network and its own copy of the index of 90 images, which no test changes."""
    with serve_copy(artifact, index_path, tmp_path_factory.mktemp("page")) as address:
        yield address


@pytest.fixture(scope="package")
def small_url(artifact: Artifact, index_path: Path) -> Iterator[str]:
    """A server that never changes its index, and takes 16 requests at a time."""
    with serve_page(artifact, index_path, max_concurrent_requests=16, read_only=True) as address:
        yield address


@pytest.fixture(scope="session")
def jpeg(images: Path) -> bytes:
    """An image of the index."""
    return (images / "stripes" / "04.jpg").read_bytes()


def hand_over(page: Page, files: dict[str, bytes], event: str = "drop") -> None:
    """Drop files on the page, or paste them."""
    page.evaluate(HAND_OVER, [event, [[name, base64.b64encode(content).decode()] for name, content in files.items()]])


def wait_for_answer(page: Page) -> None:
    """Wait until the page shows the answer to its query, and the similar images."""
    expect(page.locator(".classes li").first).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)


def result_ids(page: Page) -> list[int]:
    """The ids of the similar images that are shown."""
    links = page.locator(f"{RESULTS} > a").evaluate_all("links => links.map(link => link.search)")
    return [int(re.findall(r"[?&]id=(\d+)", link)[0]) for link in links]
