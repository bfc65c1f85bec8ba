"""`python docs/screenshot.py`: the README's screenshot of the demo's page in Chromium, after a solar cell was chosen.

Needs the extra `demo`, the group `dev`, and chromium on PATH.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import elpv_dataset
from playwright.sync_api import expect, sync_playwright

TARGET = Path(__file__).with_name("page.png")
CELL = Path(elpv_dataset.__path__[0]) / "data" / "images" / "cell0017.png"
TIMEOUT = 300


def main() -> None:
    """Start the demo on a free port, take the screenshot, stop the demo."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    demo = subprocess.Popen([Path(sys.executable).with_name("alexnet"), "demo", "--port", str(port)])
    try:
        _wait_until_ready(url, demo)
        _take_screenshot(url)
    finally:
        demo.terminate()
        demo.wait()


def _take_screenshot(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1180, "height": 900})
        page.goto(url)
        page.locator("#file").set_input_files(CELL)
        expect(page.locator("#classes li")).to_have_count(5)
        expect(page.locator("#status")).to_contain_text("searched in")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=TARGET, animations="disabled")
        browser.close()


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
