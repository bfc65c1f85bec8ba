"""axe-core finds nothing serious; the keyboard is enough; nothing is cut off on narrow screens or at 200 %."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import PHONE, SCREENSHOTS, OpenPage

VIEWS = {"": "#neighbors li", "?id=17&id=3&minus=5": "#classes li", "?view=index": "#entries li", "?view=model": "dl"}


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(view: str, url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/{view}")
    _wait(page, view)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert not _serious(page), scheme
        page.screenshot(path=SCREENSHOTS / f"{view or 'start'}-{scheme}.png".replace("?", "").replace("&", "-"))


def test_axe_and_an_error(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=4711")
    expect(page.get_by_role("alert")).to_be_visible()
    assert not _serious(page)


def test_the_keyboard_is_enough(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    _wait(page, "")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#neighbors') !== null"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#classes li")).to_have_count(3)
    expect(page.locator("#image-heading")).to_be_focused()


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_cut_off(view: str, url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/{view}", **PHONE)
    _wait(page, view)
    for width in (640, 390, 320):  # 200 % of 1280, a phone, 400 %
        page.set_viewport_size({"width": width, "height": 560})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def _serious(page: Page) -> list[tuple[str, str]]:
    """What axe-core calls serious or critical: the rule, and the first element that breaks it."""
    result = Axe().run(page).response["violations"]
    return [(fault["id"], fault["nodes"][0]["html"]) for fault in result if fault["impact"] in ("serious", "critical")]


def _wait(page: Page, view: str) -> None:
    expect(page.locator(VIEWS[view]).first).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)
