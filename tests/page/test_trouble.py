"""What may happen while the page is used: a busy server, other people's changes, proxies, odd files and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from model.artifacts.artifact import Artifact
from tests.page.conftest import OpenPage, hand_over, serve_copy, wait_for_answer

BUSY = {"error": {"code": "overloaded", "message": "busy", "request_id": ""}}
LONG_LABEL = "2024_summer_holiday_croatia_split_all"


@pytest.fixture(scope="module")
def own_url(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose index the tests of this module change."""
    with serve_copy(artifact, index_path, tmp_path_factory.mktemp("trouble")) as address:
        yield address


def refuse(route: Route, seconds: int = 60) -> None:
    route.fulfill(status=503, headers={"Retry-After": str(seconds)}, json=BUSY)


def select(page: Page, number: int) -> list[int]:
    """Tick the first cards of the library. Returns their ids."""
    cards = page.locator(".library .card:visible")
    for position in range(number):
        cards.nth(position).hover()
        cards.nth(position).get_by_role("checkbox").check()
    return [id_of(cards.nth(position)) for position in range(number)]


def id_of(card: Locator) -> int:
    return int(re.findall(r"id=(\d+)", card.locator("a").first.get_attribute("href") or "")[0])


def count_images(url: str, label: str) -> int:
    return int(httpx2.get(f"{url}/images?label={label}&limit=1").json()["total"])


def test_what_was_deleted_before_an_error_can_be_restored_with_the_rest(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=checks")
    ids = select(page, 6)
    page.route(f"**/images/{ids[4]}", refuse)
    page.locator(".selection").get_by_role("button", name="Delete").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server is busy.")
    expect(alert.get_by_role("button", name="Undo")).to_be_visible()
    deleted = 30 - count_images(own_url, "checks")
    assert 0 < deleted < 6
    expect(page.get_by_text(f"{6 - deleted} selected")).to_be_visible()
    page.unroute(f"**/images/{ids[4]}")
    alert.get_by_role("button", name="Try now").click()
    expect(page.locator("#notice")).to_contain_text("6 images deleted.")
    assert count_images(own_url, "checks") == 24
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("checks: 30 images")
    expect(page.locator(".library .card:visible")).to_have_count(30)


def test_an_image_that_somebody_else_deleted_does_not_end_a_change_of_many(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=circles")
    ids = select(page, 5)
    httpx2.delete(f"{own_url}/images/{ids[0]}").raise_for_status()
    page.get_by_role("button", name="Relabel …").click()
    label = page.get_by_role("dialog").get_by_label("Label")
    label.fill("  ")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_be_visible()  # spaces alone are no label
    label.fill(LONG_LABEL)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notice")).to_contain_text(f"4 images: labeled “{LONG_LABEL}”.")
    expect(page.locator(".library .card:visible")).to_have_count(29)
    expect(page.locator(".labels")).to_contain_text(LONG_LABEL)
    assert page.locator(".side").evaluate("side => side.scrollWidth <= side.clientWidth")


def test_details_are_closed_with_their_view_and_say_what_was_deleted(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/")
    page.get_by_role("link", name="Library").click()
    card = page.locator(".library .card").nth(5)  # the last one moves when more are loaded
    httpx2.delete(f"{own_url}/images/{id_of(card)}").raise_for_status()
    card.hover()
    card.get_by_role("button", name="Details").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("this image is no longer in the library")
    expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    page.go_back()
    expect(page.locator(".start")).to_be_visible()
    expect(dialog).to_be_hidden()


def test_thumbnails_that_a_busy_server_refuses_are_asked_for_again(url: str, open_page: OpenPage) -> None:
    page, asked = open_page(url), Counter[str]()

    def refuse_first(route: Route) -> None:
        asked[route.request.url] += 1
        if asked[route.request.url] == 1:
            refuse(route)
        else:
            route.continue_()

    page.route("**/thumbnail", refuse_first)
    page.goto(f"{url}/?id=17")
    wait_for_answer(page)
    loaded = """() => [...document.querySelectorAll('.results .card img')].slice(0, 4).every(
      image => image.naturalWidth > 0 && !image.classList.contains('missing'))"""
    page.locator(".results .card img").first.wait_for()
    page.wait_for_function(loaded)
    assert max(asked.values()) == 2


@pytest.mark.parametrize("fails", [refuse, lambda route: route.fulfill(status=500, body="")])
def test_the_start_is_of_use_without_examples(fails: Callable[[Route], None], url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    page.route(re.compile(r"images\?.*limit=1"), fails)
    page.reload()
    expect(page.locator(".class-chips li")).to_have_count(3)
    expect(page.locator("#examples-heading")).to_have_count(0)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_bad_file_while_the_start_is_loading(url: str, open_page: OpenPage) -> None:
    page, held = open_page(url), list[Route]()
    page.route("**/history", lambda route: held.append(route))
    page.reload()
    page.get_by_text("Drop an image here").wait_for()
    hand_over(page, {"notes.txt": b"no image"})
    expect(page.get_by_role("alert")).to_contain_text("“notes.txt” isn't an image")
    page.unroute("**/history")
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator(".start .card")).to_have_count(3)
    expect(page.get_by_text("Looking …")).to_have_count(0)


def test_a_search_with_several_files_leaves_out_those_that_failed(url: str, open_page: OpenPage, images: Path) -> None:
    page = open_page(url)
    files = {f"{kind}.jpg": (images / kind / "01.jpg").read_bytes() for kind in ("checks", "circles")}
    hand_over(page, files | {"notes.txt": b"no image"})
    expect(page.locator("#queue .failed")).to_have_count(1)
    page.get_by_role("button", name="Search with all of them").click()
    expect(page.locator(".query-chips .chip")).to_have_count(2)
    too_large = {"code": "body_too_large", "message": "more than 33554432 bytes", "request_id": ""}
    page.route("**/similar?*", lambda route: route.fulfill(status=413, json={"error": too_large}))
    page.locator("#queue .named").first.click()
    page.get_by_role("button", name="Search with all of them").click()
    expect(page.get_by_role("alert")).to_contain_text("Together the files are too large for this server")


def test_a_page_that_a_proxy_sends_instead_of_an_answer(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    page.route("**/classify?*", lambda route: route.fulfill(body="<html>log in</html>"))
    hand_over(page, {"mine.jpg": jpeg})
    expect(page.get_by_role("alert")).to_contain_text("a proxy sent a page of its own")
    page.unroute("**/classify?*")
    page.get_by_role("button", name="Try now").click()
    wait_for_answer(page)


def test_back_and_forward_return_to_where_the_library_was_scrolled_to(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=library")
    cards = page.locator(".library .card")
    expect(cards).to_have_count(60)
    page.mouse.wheel(0, 20_000)
    expect(cards).to_have_count(90)
    cards.nth(85).scroll_into_view_if_needed()
    page.wait_for_function("() => history.state?.scroll === scrollY && scrollY > 0")
    place = page.evaluate("scrollY")
    cards.nth(85).get_by_role("link").first.click()
    wait_for_answer(page)
    page.go_back()
    page.wait_for_function("place => Math.abs(scrollY - place) < 5", arg=place)
    expect(cards).to_have_count(90)


def test_hidden_folders_and_system_files_are_not_uploaded(own_url: str, open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / ".new"
    (folder / ".git").mkdir(parents=True)
    for name in (".git/object.txt", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("no image")
    page = open_page(f"{own_url}/?view=library")
    page.locator(".upload input[webkitdirectory]").set_input_files(folder)
    expect(page.locator(".upload-progress")).to_contain_text("0 of 1 image added, 1 failed.")
    expect(page.locator(".failures")).to_contain_text("“.new/notes.txt” isn't an image")


def test_an_upload_says_why_it_waits_and_can_be_cancelled(own_url: str, open_page: OpenPage, images: Path) -> None:
    page = open_page(f"{own_url}/?view=library")
    page.route("**/images", refuse)
    page.locator(".upload input[type=file]").first.set_input_files(images / "checks" / "00.jpg")
    progress = page.locator(".upload-progress")
    expect(progress).to_contain_text("The server is busy. Trying again …")
    page.get_by_role("button", name="Cancel").click()
    expect(progress).to_contain_text("Stopped; 1 file not sent.")


def test_names_written_from_right_to_left_turn_nothing_around_them(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=library")
    arabic = {"labels": [{"label": "مرحبا", "images": 2}]}
    page.route("**/labels", lambda route: route.fulfill(json=arabic))
    page.reload()
    expect(page.locator(".labels .label").last).to_have_text("\u2068مرحبا\u2069")


def test_an_empty_library_says_what_to_do(
    artifact: Artifact, index_path: Path, tmp_path: Path, open_page: OpenPage, jpeg: bytes
) -> None:
    with serve_copy(artifact, index_path, tmp_path) as address:
        httpx2.delete(f"{address}/images?{'&'.join(f'id={number}' for number in range(1, 91))}").raise_for_status()
        page = open_page(address)
        expect(page.get_by_role("heading", level=1)).to_have_text("Classify an image")
        hand_over(page, {"mine.jpg": jpeg})
        expect(page.locator(".results .summary")).to_have_text("The library is empty.")
        page.get_by_role("link", name="Library").click()
        expect(page.get_by_text("The library is empty. Add images from your computer")).to_be_visible()
