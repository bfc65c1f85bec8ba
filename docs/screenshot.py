"""`python docs/screenshot.py URL FOLDER`: every state of the page at three widths, to look at after a change of it.

A server without an index has fewer states: take its screenshots, too. Needs the group `dev`, and chromium on PATH.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

PHOTO = Path(__file__).parents[1] / "alexnet" / "gallery" / "images" / "0e83f990a04ed67d.webp"
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
    """Take the screenshots."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", help="address of a running server, as that of `alexnet demo`")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        take_states(browser, arguments.url.rstrip("/"), arguments.folder)
        browser.close()


def take_states(browser: Browser, url: str, folder: Path) -> None:
    """Every state, at every width, and some in the dark."""
    with urllib.request.urlopen(f"{url}/info") as response:
        states = STATES if json.load(response)["index"] else STATES_WITHOUT_INDEX
    folder.mkdir(parents=True, exist_ok=True)
    for state in states:
        for width, height in SIZES.items():
            for scheme in ("light", "dark") if state in IN_THE_DARK and width != 768 else ("light",):
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    has_touch=width == PHONE,
                    is_mobile=width == PHONE,
                    color_scheme=scheme,
                )
                page = context.new_page()
                state(page, url)
                page.wait_for_timeout(300)  # thumbnails may still be drawn
                page.screenshot(path=folder / f"{state.__name__}-{width}{'-dark' * (scheme == 'dark')}.png")
                page.unroute_all(behavior="ignoreErrors")
                context.close()


def show_start(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()
    page.wait_for_load_state("networkidle")


def show_drag(page: Page, url: str) -> None:
    show_start(page, url)
    page.evaluate(DRAG)


def show_answer(page: Page, url: str) -> None:
    show_start(page, url)
    if (cards := page.locator(".start .card > a")).count():
        cards.nth(4).click()
    else:
        page.locator("#file").set_input_files(PHOTO)
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


def show_no_library(page: Page, url: str) -> None:
    page.goto(f"{url}/?view=library")
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
STATES_WITHOUT_INDEX: list[State] = [
    show_start, show_drag, show_waiting, show_answer, show_unfamiliar, show_queue, show_error, show_no_library,
    show_model,
]  # fmt: skip


def _choose(page: Page, files: dict[str, bytes]) -> None:
    page.locator("#file").set_input_files(
        [FilePayload(name=name, mimeType="", buffer=content) for name, content in files.items()]
    )


def _noise(side: int = 300) -> bytes:
    """A PNG of random colors; of one pixel, a plain one."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
