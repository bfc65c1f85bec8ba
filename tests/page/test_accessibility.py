"""axe-core finds nothing serious; the keyboard is enough; nothing overlaps or is cut off on narrow screens."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import PHONE, RESULTS, SCREENSHOTS, OpenPage, hand_over, wait_for_answer

VIEWS = {
    "": ".start .card",
    "?id=17&id=3&minus=5": ".classes li",
    "?view=library&label=circles": ".library .card",
    "?view=model": "dl",
}
OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("main *, header *, footer *")]
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .filter((node) => node.checkVisibility({opacityProperty: true, visibilityProperty: true})
      && !node.closest(".visually-hidden, .actions, select, datalist"))
    .map((node) => {
      const range = document.createRange();
      range.selectNodeContents(node);
      return [node, range.getBoundingClientRect()];
    })
    .filter(([, box]) => box.width > 1 && box.height > 1);
  const found = [];
  boxes.forEach(([one, a], at) => boxes.slice(at + 1).forEach(([other, b]) => {
    if (one.contains(other) || other.contains(one) || one.closest(".wide") || other.closest(".wide")) return;
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 4) found.push(`${one.textContent} | ${other.textContent}`);
  }));
  return found;
}"""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, .tick, nav a, summary, [type=search]")]
  .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 39.5)
  .map((node) => node.outerHTML)"""


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_and_nothing_overlaps_or_is_cut_off(view: str, url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/{view}", **PHONE)
    _wait(page, view)
    assert page.evaluate(SMALL_TARGETS) == []
    for width in (320, 390, 768):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OVERLAPS) == []
    assert not _serious(page)
    page.emulate_media(color_scheme="dark")
    assert not _serious(page, "color-contrast")
    page.screenshot(path=SCREENSHOTS / f"{view or 'start'}.png".replace("?", "").replace("&", "-"))


def test_axe_in_dialogs_and_beside_an_error(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(f"{url}/?id=17")
    wait_for_answer(page)
    page.locator(RESULTS).first.hover()
    page.locator(RESULTS).first.get_by_role("button", name="Details").click()
    expect(page.get_by_role("link", name="Open original")).to_be_visible()
    assert not _serious(page)
    page.keyboard.press("Escape")
    hand_over(page, {"a.jpg": jpeg, "b.jpg": b"none"})
    wait_for_answer(page)
    expect(page.locator("#queue .failed")).to_be_visible()
    page.get_by_role("button", name="b.jpg").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert not _serious(page)


def test_the_keyboard_is_enough(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    _wait(page, "")
    page.wait_for_load_state("networkidle")  # redrawn cards lose the focus
    for _ in range(60):
        page.keyboard.press("Tab")
        if is_card := page.evaluate("document.activeElement.closest('.card') !== null"):
            break
    assert is_card
    page.keyboard.press("Enter")
    wait_for_answer(page)
    expect(page.locator("#image-heading")).to_be_focused()


def _serious(page: Page, *rules: str) -> list[tuple[str, str]]:
    """axe-core's serious and critical violations of all or some rules: the rule, and the first element with each."""
    result = Axe().run(page, options={"runOnly": list(rules)} if rules else {}).response["violations"]
    return [(fault["id"], fault["nodes"][0]["html"]) for fault in result if fault["impact"] in ("serious", "critical")]


def _wait(page: Page, view: str) -> None:
    expect(page.locator(VIEWS[view]).first).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)
