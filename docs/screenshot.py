"""`python docs/screenshot.py`: the README's screenshot of the demo's page in Chromium, with one of its examples.

`--states FOLDER`: instead, every state of the page at three widths, to look at. `--url URL`: of a server that runs.
Needs the group `dev`, and chromium on PATH.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

TARGET = Path(__file__).with_name("page.png")
TIMEOUT = 300
SIZES = {390: 844, 768: 1024, 1440: 900}
PHONE = 390
NO_ANSWER = "**/{classify,similar}*"
NEVER_FAMILIAR = """(() => { const read = Response.prototype.json; Response.prototype.json = async function () {
  const answer = await read.call(this);
  if (answer.predictions) Object.assign(answer, {familiar: false, familiarity: 0.003});
  return answer; }; })()"""
DRAG = """() => { const data = new DataTransfer(); data.items.add(new File(["x"], "a.jpg", {type: "image/jpeg"}));
  document.body.dispatchEvent(new DragEvent("dragover", {bubbles: true, cancelable: true, dataTransfer: data})); }"""


def main() -> None:
    """Take the screenshots, of the demo on a free port if no server is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--states", type=Path)
    arguments = parser.parse_args()
    with serve_demo() if arguments.url is None else _given(arguments.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        if arguments.states is None:
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            show_answer(page, url)
            page.screenshot(path=TARGET, animations="disabled")
        else:
            take_states(browser, url, arguments.states)
        browser.close()


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


@contextmanager
def serve_demo() -> Iterator[str]:
    """The address of the demo, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    demo = subprocess.Popen([Path(sys.executable).with_name("alexnet"), "demo", "--port", str(port)])
    try:
        _wait_until_ready(url, demo)
        yield url
    finally:
        demo.terminate()
        demo.wait()


def _wait_until_ready(url: str, demo: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and demo.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ready"):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("error: the demo did not become ready; see its output")


def take_states(browser: Browser, url: str, folder: Path) -> None:
    """Every state, at every width, and some in the dark."""
    for state in STATES:
        for width, height in SIZES.items():
            for scheme in ("light", "dark") if state in IN_THE_DARK and width != 768 else ("light",):
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    has_touch=width == PHONE,
                    is_mobile=width == PHONE,
                    color_scheme=scheme,  # type: ignore[arg-type]
                )
                page = context.new_page()
                state(page, url)
                page.wait_for_timeout(300)  # thumbnails may still be drawn
                page.screenshot(path=folder / f"{state.__name__}-{width}{'-dark' * (scheme == 'dark')}.png")
                page.unroute_all(behavior="ignoreErrors")
                context.close()


def show_start(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".start .card").first).to_be_visible()
    page.wait_for_load_state("networkidle")


def show_drag(page: Page, url: str) -> None:
    show_start(page, url)
    page.evaluate(DRAG)


def show_answer(page: Page, url: str) -> None:
    show_start(page, url)
    page.locator(".start .card a").nth(4).click()
    expect(page.locator(".classes li").first).to_be_visible(timeout=30_000)
    page.wait_for_load_state("networkidle")


def show_waiting(page: Page, url: str) -> None:
    show_start(page, url)
    page.route(NO_ANSWER, lambda route: None)
    _choose(page, {"noise.png": _noise()})


def show_unfamiliar(page: Page, url: str) -> None:
    page.add_init_script(NEVER_FAMILIAR)
    show_start(page, url)
    _choose(page, {"noise.png": _noise()})
    expect(page.get_by_role("note")).to_be_visible()


def show_detail(page: Page, url: str) -> None:
    show_answer(page, url)
    page.locator(".results .card").nth(2).get_by_role("button", name="Details").focus()
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")


def show_query(page: Page, url: str) -> None:
    page.goto(f"{url}/?id=5&id=9&minus=40")
    expect(page.locator(".query-chips")).to_be_visible(timeout=30_000)


def show_queue(page: Page, url: str) -> None:
    show_start(page, url)
    _choose(page, {"noise.png": _noise(), "notes.txt": b"no image", "gray.png": _noise(side=1)})
    expect(page.locator("#queue .named")).to_have_count(2, timeout=30_000)


def show_error(page: Page, url: str) -> None:
    show_answer(page, url)
    _choose(page, {"notes.txt": b"no image"})
    expect(page.get_by_role("alert")).to_be_visible()


def show_library(page: Page, url: str) -> None:
    page.goto(f"{url}/?view=library")
    expect(page.locator(".library .card").first).to_be_visible()
    page.wait_for_load_state("networkidle")


def show_selection(page: Page, url: str) -> None:
    show_library(page, url)
    for number in (0, 1, 3):
        page.locator(".library .card").nth(number).get_by_role("checkbox").check(force=True)


def show_model(page: Page, url: str) -> None:
    page.goto(f"{url}/?view=model")
    expect(page.locator("dl")).to_be_visible()


def show_not_found(page: Page, url: str) -> None:
    page.goto(f"{url}/nothing/here")


State = Callable[[Page, str], None]
IN_THE_DARK: list[State] = [show_start, show_answer, show_unfamiliar, show_library, show_model]
STATES: list[State] = [
    show_start, show_drag, show_waiting, show_answer, show_unfamiliar, show_query, show_detail, show_queue, show_error,
    show_library, show_selection, show_model, show_not_found,
]  # fmt: skip


def _choose(page: Page, files: dict[str, bytes]) -> None:
    page.locator("#file").set_input_files(
        [{"name": name, "mimeType": "", "buffer": content} for name, content in files.items()]
    )


def _noise(side: int = 300) -> bytes:
    """A PNG of random colors; of one pixel, a plain one."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
