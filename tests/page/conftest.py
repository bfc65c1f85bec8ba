"""The page in a real browser, Debian's Chromium, against a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from model.artifacts.artifact import Artifact
from tests.helpers.server import served

WIDE = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

SCREENSHOTS = Path(__file__).parents[2] / "build" / "page"
"""Continuous integration keeps them."""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ended after each module: while it lives, no test of this thread can have an event loop of its own."""
    executable = shutil.which("chromium")
    assert executable, "expected chromium on PATH: `make chromium` installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(url, **options)`: a window of its own, in which no script may fail and nothing be blocked."""
    contexts, faults = [], list[str]()

    def open_window(url: str, **options: Any) -> Page:
        context = browser.new_context(**(WIDE | options))
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(url)
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(scope="module")
def url(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the small network and its own copy of the index of 90 images."""
    home = tmp_path_factory.mktemp("page")
    shutil.copytree(index_path, home / "index")
    with served(artifact, home, {"ALEXNET_INDEX": str(home / "index")}) as (address, _):
        yield address
