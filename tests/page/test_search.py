"""What a person does with the page: drop an image, read its classes, click through its neighbors, go back."""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect

from model.artifacts.artifact import Artifact
from tests.helpers.server import served
from tests.page.conftest import PHONE, SCREENSHOTS, WIDE, OpenPage

HAND_OVER = """([event, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type: "image/jpeg"}));
  const options = {bubbles: true, cancelable: true};
  document.body.dispatchEvent(event === "paste"
    ? new ClipboardEvent("paste", {...options, clipboardData: data})
    : new DragEvent("drop", {...options, dataTransfer: data}));
}"""
NEIGHBORS = "#neighbors li"


def hand_over(page: Page, content: bytes, event: str = "drop") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(HAND_OVER, [event, "image.jpg", base64.b64encode(content).decode()])


def ids(page: Page) -> list[int]:
    """Those of the neighbors that are shown."""
    links = page.locator(f"{NEIGHBORS} a").evaluate_all("links => links.map(link => link.search)")
    return [int(re.findall(r"[?&]id=(\d+)", link)[0]) for link in links]


@pytest.fixture(scope="module")
def jpeg(images: Path) -> bytes:
    return (images / "stripes" / "04.jpg").read_bytes()


@pytest.mark.parametrize("window", [WIDE, PHONE], ids=["wide", "phone"])
def test_drop_classes_neighbors_click_back(window: dict[str, Any], url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url, **window)
    expect(page.locator(NEIGHBORS)).to_have_count(6)  # to start from
    expect(page.get_by_text("Take a photo")).to_be_visible(visible="is_mobile" in window)
    hand_over(page, jpeg)
    expect(page.locator("#classes li")).to_have_count(3)
    expect(page.locator("#classes li.correct")).to_contain_text("stripes")
    expect(page.locator("#known-label")).to_contain_text("stripes is its label: it is image")
    expect(page.locator(NEIGHBORS)).to_have_count(6)
    expect(page.locator("#status")).to_contain_text(re.compile(r"90 images searched in [\d.]+ ms"))
    assert page.locator("#preview").evaluate("image => image.naturalWidth") == 256
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SCREENSHOTS / f"search-{page.viewport_size['width']}.png")  # type: ignore[index]
    first = ids(page)
    page.locator(f"{NEIGHBORS} a").nth(1).click()
    expect(page).to_have_url(f"{url}/?id={first[1]}")
    expect(page.locator("#preview")).to_have_attribute("alt", f"Image {first[1]} of the index")
    expect(page.locator("#status")).to_contain_text("90 images")
    second = ids(page)
    assert len(second) == 6
    assert first[1] not in second
    page.go_back()
    expect(page).to_have_url(f"{url}/")
    expect(page.locator("#preview")).to_have_attribute("alt", "Your image")
    expect(page.locator("#status")).to_contain_text("90 images")
    assert ids(page) == first
    page.go_forward()
    expect(page.locator("#preview")).to_have_attribute("alt", f"Image {first[1]} of the index")


def test_the_ten_crops_are_drawn_on_demand(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=1")
    page.locator("#crops summary").click()
    expect(page.locator("#crops canvas")).to_have_count(10)
    left, mirrored = (
        page.locator("#crops canvas")
        .nth(number)
        .evaluate("c => [...c.getContext('2d').getImageData(0, 9, 224, 1).data]")
        for number in (4, 9)
    )
    pixels = [mirrored[4 * x : 4 * x + 4] for x in range(224)]
    assert [value for pixel in reversed(pixels) for value in pixel] == left


def test_paste_and_choose(url: str, open_page: OpenPage, jpeg: bytes, images: Path) -> None:
    page = open_page(url)
    hand_over(page, jpeg, "paste")
    expect(page.locator("#known-label")).to_contain_text("stripes")
    page.locator("#file").set_input_files([images / "checks" / "00.jpg", images / "checks" / "01.jpg"])
    expect(page.locator("#image-heading")).to_have_text("A query of 2 images")
    expect(page.locator("#query-chips li")).to_have_count(2)
    expect(page.locator(NEIGHBORS)).to_have_count(6)


def test_a_query_of_several_images_is_an_address(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    expect(page.locator(NEIGHBORS)).to_have_count(6)
    first = ids(page)
    page.locator(f"{NEIGHBORS} a").nth(0).click(modifiers=["Shift"])
    expect(page).to_have_url(f"{url}/?id=17&id={first[0]}")
    expect(page.locator("#query-chips li")).to_have_count(2)
    expect(page.locator("#status")).to_contain_text("90 images")
    away = ids(page)[5]
    page.locator(f"{NEIGHBORS} a").nth(5).click(modifiers=["Alt"])
    expect(page).to_have_url(f"{url}/?id=17&id={first[0]}&minus={away}")
    expect(page.locator("#status")).to_contain_text("90 images")
    shown = ids(page)
    asked = httpx2.get(f"{url}/images/17/similar?id={first[0]}&minus={away}&k=9").json()["neighbors"]
    assert shown == [n["id"] for n in asked if n["id"] not in (17, first[0], away)][:6]
    again = open_page(page.url)
    expect(again.locator("#status")).to_contain_text("90 images")
    assert ids(again) == shown
    again.get_by_label(f"Remove image {away}", exact=True).click()
    expect(again).to_have_url(f"{url}/?id=17&id={first[0]}")


def test_label_filter_and_endless_scrolling(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    expect(page.locator(NEIGHBORS)).to_have_count(6)
    page.locator("#results").get_by_label("Label").select_option("circles")
    expect(page).to_have_url(f"{url}/?id=17&label=circles")
    expect(page.locator("#status")).to_contain_text("only the label circles is shown")
    more, deadline = page.locator("#more"), time.monotonic() + 20
    while more.is_visible():
        assert time.monotonic() < deadline
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(50)
    shown = ids(page)
    asked = httpx2.get(f"{url}/images/17/similar?label=circles&k=40").json()["neighbors"]
    assert shown == [n["id"] for n in asked if n["id"] != 17]
    assert set(page.locator(f"{NEIGHBORS} .label").all_text_contents()) == {"circles"}


@pytest.mark.parametrize("cut", [0, 20, 2000])
def test_a_broken_file_is_refused_in_the_api_s_words(cut: int, url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    hand_over(page, jpeg[:cut])
    expect(page.get_by_role("alert")).to_have_text(
        httpx2.post(f"{url}/classify", content=jpeg[:cut]).json()["error"]["message"]
    )
    expect(page.locator("#classes")).to_be_hidden()
    hand_over(page, jpeg)
    expect(page.locator("#known-label")).to_contain_text("stripes")
    expect(page.locator("#notice")).to_be_hidden()


def test_an_unknown_image(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=4711")
    expect(page.get_by_role("alert")).to_have_text(re.compile("4711"))


@contextmanager
def full(url: str) -> Iterator[None]:
    """Requests whose bodies don't end, until the server has as much in work as it takes; where the page had one in work
    itself, ours was refused, and another takes its place."""
    with ExitStack() as stack:
        deadline = time.monotonic() + 20
        while httpx2.get(f"{url}/images/1/similar").status_code != 503:
            assert time.monotonic() < deadline
            connection = stack.enter_context(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)))
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        yield


def test_overloaded_then_answered(artifact: Artifact, index_path: Path, tmp_path: Path, open_page: OpenPage) -> None:
    environment = {
        "ALEXNET_INDEX": str(index_path),
        "ALEXNET_MAX_CONCURRENT_REQUESTS": "16",
        "ALEXNET_READ_ONLY": "true",
    }
    with served(artifact, tmp_path, environment) as (url, _):
        page = open_page(url)
        expect(page.locator(NEIGHBORS)).to_have_count(6)
        with full(url):
            page.locator(f"{NEIGHBORS} a").nth(2).click()
            expect(page.get_by_role("alert")).to_contain_text("limit of 16 concurrent requests reached")
            expect(page.get_by_role("alert")).to_contain_text("Retrying in")
        expect(page.locator("#classes li")).to_have_count(3)
        expect(page.locator("#notice")).to_be_hidden()
        page.close()


def test_offline_then_answered(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    expect(page.locator(NEIGHBORS)).to_have_count(6)
    page.context.set_offline(True)
    page.locator(f"{NEIGHBORS} a").nth(2).click()
    expect(page.get_by_role("alert")).to_contain_text("The server can't be reached.")
    expect(page.locator("#preview")).to_be_hidden()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#classes li")).to_have_count(3)
    expect(page.locator("#notice")).to_be_hidden()


def test_exact_and_binary_side_by_side(url: str, open_page: OpenPage) -> None:
    """As far as the page goes: what the two searches find is the server's."""
    page = open_page(f"{url}/?id=17")
    expect(page.locator(NEIGHBORS)).to_have_count(6)
    expect(page.locator("#mode-field")).to_be_hidden()  # this index has no binary codes

    def with_codes(route: Route) -> None:
        info = httpx2.get(f"{url}/info").json()
        info["index"]["codes"] = {"bits": 64}
        route.fulfill(json=info)

    def exactly(route: Route) -> None:
        route.continue_(url=route.request.url.replace("search=binary", "search=exact"))

    page.route("**/info", with_codes)
    page.route(re.compile("search=binary"), exactly)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator("#results").get_by_label("Search mode").select_option("both")
    expect(page).to_have_url(f"{url}/?id=17&search=both")
    expect(page.get_by_role("heading", name=re.compile(r"Exact: [\d.]+ ms"))).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile(r"Binary codes: [\d.]+ ms"))).to_be_visible()
    expect(page.locator(NEIGHBORS)).to_have_count(12)
    assert {result[0] for address in asked if (result := re.findall("search=(exact|binary)", address))} == {
        "exact",
        "binary",
    }
