"""`python docs/record_demo.py`: the README's animation, docs/demo.webp, from the demo's page in Chromium.

Needs the group `dev`, and chromium on PATH.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).with_name("demo.webp")
PHOTO = ROOT / "alexnet" / "gallery" / "images" / "0e83f990a04ed67d.webp"
"""A bridge, which the network names rightly; of the gallery, whose photographs may be passed on."""
SIZE = (1180, 800)
WIDTH = 860
QUALITY = 60
MAX_BYTES = 600_000
TIMEOUT = 300
LOADING = "[...document.images].some((image) => !image.naturalWidth && image.getBoundingClientRect().top < innerHeight)"


def main() -> None:
    """Start the demo on a free port, record it, stop it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        command = [Path(sys.executable).with_name("alexnet"), "demo", "--port", str(port)]
        demo = subprocess.Popen([*map(str, command)], cwd=home)
        try:
            _wait_until_ready(url, demo)
            frames = list(_record(url, PHOTO))
        finally:
            demo.terminate()
            demo.wait()
    _save(frames)


def _record(url: str, photo: Path) -> Iterator[tuple[Image.Image, int]]:
    """Frames, and the milliseconds for which each is shown."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        page.goto(url)
        yield _frame(page), 2000
        page.locator("#file").set_input_files(photo)
        expect(page.get_by_text("Looking …")).to_have_count(0)
        yield _frame(page), 3500
        card = page.locator(".card").first
        card.hover()
        yield _frame(page), 1500
        card.get_by_role("button", name="More like this").click()
        expect(page.get_by_text("Looking …")).to_have_count(0)
        yield _frame(page), 3000
        page.get_by_role("link", name="Library").click()
        yield _frame(page), 2500
        browser.close()


def _frame(page: Page) -> Image.Image:
    page.wait_for_load_state("networkidle")
    while page.evaluate(LOADING):
        page.wait_for_timeout(100)
    page.wait_for_timeout(1500)  # transitions, and thumbnails that begin to load
    image = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)


def _save(frames: list[tuple[Image.Image, int]]) -> None:
    images, durations = zip(*frames, strict=True)
    images[0].save(
        TARGET, save_all=True, append_images=images[1:], duration=list(durations), loop=0, quality=QUALITY, method=6
    )
    size = TARGET.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"error: {TARGET} has {size:,} bytes, more than {MAX_BYTES:,}: lower WIDTH or QUALITY")


def _wait_until_ready(url: str, demo: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and demo.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ready"):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("error: the demo did not become ready; see its output")


if __name__ == "__main__":
    main()
