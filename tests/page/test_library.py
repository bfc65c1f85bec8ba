"""The library: labels, pages, uploads, selections; with keys, without an index, and with one that can't be changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from model.artifacts.artifact import Artifact
from tests.helpers.drawings import draw, encode
from tests.page.conftest import OpenPage, hand_over, serve_copy, serve_page, wait_for_answer

READ, WRITE = "r" * 16, "w" * 16
WIDTH = """async image => {
  for (let tries = 0; !image.naturalWidth && tries < 1500; tries++) await new Promise(done => setTimeout(done, 20));
  return image.naturalWidth;
}"""  # with a key, the page's script fetches images: for a moment, an image has no source

FOLDER_DROP = """() => {
  const file = {isFile: true, name: "notes.txt", file: resolve => resolve(new File(["no image"], "notes.txt"))};
  const locked = {isFile: false, name: "locked", fullPath: "/mixed/locked", createReader: () => (
    {readEntries: (_, reject) => reject(new DOMException("Permission denied", "NotReadableError"))})};
  const batches = [[file, locked], []];
  const mixed = {isFile: false, name: "mixed", fullPath: "/mixed", createReader: () => (
    {readEntries: resolve => resolve(batches.shift() ?? [])})};
  const data = new DataTransfer();
  data.items.add(new File(["x"], "mixed"));
  const native = DataTransferItem.prototype.webkitGetAsEntry;
  DataTransferItem.prototype.webkitGetAsEntry = () => mixed;
  document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
  DataTransferItem.prototype.webkitGetAsEntry = native;
}"""
"""Drops a folder with a file that is no image and a folder that can't be read."""


KEEP_FILES = "input => input.addEventListener('change', () => { window.kept = [...input.files]; }, {capture: true})"
DROP_AGAIN = """() => {
  const data = new DataTransfer();
  for (const file of kept) data.items.add(file);
  document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
}"""
"""Drops the files that were chosen in an input."""

COUNT_OBJECT_URLS = """() => {
  const [create, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
  window.objectUrls = new Set();
  URL.createObjectURL = (blob) => {
    const url = create.call(URL, blob);
    objectUrls.add(url);
    return url;
  };
  URL.revokeObjectURL = (url) => {
    objectUrls.delete(url);
    revoke.call(URL, url);
  };
}"""


@pytest.fixture(scope="module")
def own_url(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose index the tests of this module change."""
    with serve_copy(artifact, index_path, tmp_path_factory.mktemp("library")) as address:
        yield address


@pytest.fixture
def locked_url(artifact: Artifact, index_path: Path, tmp_path: Path) -> Iterator[str]:
    """A server with keys."""
    with serve_copy(artifact, index_path, tmp_path, keys=f"read:{READ},write:{WRITE}") as address:
        yield address


def label_counts(page: Page) -> dict[str, int]:
    """The labels and counts that are shown."""
    rows = [row.split("\n") for row in page.locator(".labels li").all_inner_texts()]
    return {row[0]: int(row[1]) for row in rows}


def open_library(page: Page, count: int) -> Locator:
    cards = page.locator(".library .card:visible")
    expect(cards).to_have_count(count)
    return cards


def test_labels_and_pages(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=library")
    cards = open_library(page, 60)
    assert label_counts(page) == {"all": 90, "checks": 30, "circles": 30, "stripes": 30}
    page.mouse.wheel(0, 20_000)
    expect(cards).to_have_count(90)
    page.locator(".labels a", has_text="circles").click()
    expect(page).to_have_url(f"{url}/?view=library&label=circles")
    expect(page.get_by_role("heading", level=1)).to_have_text("circles: 30 images")
    expect(cards).to_have_count(30)
    cards.first.get_by_role("link").click()
    wait_for_answer(page)
    expect(page.locator("#image-heading")).to_have_text("Image of the library")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("circles: 30 images")


def test_a_folder_is_added_and_faults_are_named(own_url: str, open_page: OpenPage, tmp_path: Path) -> None:
    generator = np.random.default_rng(77)
    for kind, name in (("circles", "rings"), ("checks", "boards")):
        (tmp_path / "new" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "new" / name / f"{number}.jpg").write_bytes(encode(draw(kind, generator)))
    shutil.copy(tmp_path / "new" / "rings" / "0.jpg", tmp_path / "new" / "rings" / "again.jpg")
    (tmp_path / "new" / "boards" / "notes.txt").write_text("no image")
    (tmp_path / "new" / ".hidden").write_text("not sent")
    page = open_page(f"{own_url}/?view=library")
    open_library(page, 60)
    page.locator(".upload input[webkitdirectory]").set_input_files(tmp_path / "new")
    status = page.locator(".upload-progress [role=status]")
    expect(status).to_have_text("4 of 6 images added, 1 already there, 1 failed.")
    expect(page.locator(".failures li")).to_contain_text(
        "“new/boards/notes.txt” isn't an image that this server can read."
    )
    expect(page.get_by_role("button", name="Try failed files again")).to_be_visible()
    expect(page.locator(".labels")).to_contain_text("rings")
    assert label_counts(page) == {"all": 94, "boards": 2, "checks": 30, "circles": 30, "rings": 2, "stripes": 30}


def test_what_a_dropped_folder_does_not_let_the_browser_read_is_named(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=checks")
    open_library(page, 30)
    page.evaluate(FOLDER_DROP)
    status = page.locator(".upload-progress [role=status]")
    expect(status).to_have_text("0 of 2 images added, 2 failed.")
    failures = page.locator(".failures li")
    expect(failures.first).to_contain_text("“/mixed/locked” can't be read.")
    expect(failures.nth(1)).to_contain_text("“notes.txt” isn't an image that this server can read.")
    hand_over(page, {"again.jpg": b"no image"})  # the page then takes the next files
    expect(status).to_have_text("0 of 1 image added, 1 failed.")
    page.evaluate(FOLDER_DROP.replace("[file, locked]", "[]"))
    expect(page.locator("#notice")).to_contain_text("There are no files in this folder, or only hidden ones.")


def test_an_upload_is_cancelled_and_resumed(own_url: str, open_page: OpenPage, images: Path) -> None:
    page = open_page(f"{own_url}/?view=library&label=checks")
    open_library(page, 30)
    page.route("**/images", lambda route: None)
    page.locator(".upload input").first.set_input_files([images / "checks" / f"0{number}.jpg" for number in range(4)])
    expect(page.locator(".upload-progress progress")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    status = page.locator(".upload-progress [role=status]")
    expect(status).to_contain_text("Stopped; 4 files not sent.")
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Send the rest").click()
    expect(status).to_have_text("0 of 4 images added, 4 already there.")


def test_an_upload_that_the_network_ended_is_resumed(own_url: str, open_page: OpenPage, images: Path) -> None:
    page = open_page(f"{own_url}/?view=library&label=checks")
    open_library(page, 30)
    page.route("**/images", lambda route: route.abort())
    page.locator(".upload input").first.set_input_files([images / "checks" / f"0{number}.jpg" for number in range(6)])
    status = page.locator(".upload-progress [role=status]")
    expect(status).to_contain_text("Stopped; 6 files not sent.")
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Send the rest").click()
    expect(status).to_have_text("0 of 6 images added, 6 already there.")
    expect(page.get_by_role("button", name="Send the rest")).to_be_hidden()


def test_delete_undo_and_relabel(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=stripes")
    cards = open_library(page, 30)
    heading = page.get_by_role("heading", level=1)
    name = cards.nth(3).locator(".file").inner_text()
    card = page.locator(".library .card").nth(3)
    number = int(re.findall(r"id=(\d+)", card.locator("a").first.get_attribute("href") or "")[0])
    card.hover()
    card.get_by_role("button", name="Delete").click()
    expect(page.locator("#notice")).to_contain_text(f"{name} deleted.")
    expect(cards).to_have_count(29)
    assert httpx2.get(f"{own_url}/images/{number}").status_code == 404
    expect(heading).to_have_text("stripes: 29 images")
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading).to_have_text("stripes: 30 images")
    expect(cards).to_have_count(30)
    assert httpx2.get(f"{own_url}/images/{number}").json()["label"] == "stripes"
    card.get_by_role("button", name="Relabel").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("odd")
    page.keyboard.press("Enter")
    expect(card.locator(".label")).to_have_text("odd")
    assert httpx2.get(f"{own_url}/images/{number}").json()["label"] == "odd"


def test_many_images_are_relabeled_and_deleted_at_once(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=circles")
    cards = open_library(page, 30)
    for card, modifier in ((cards.nth(1), None), (cards.nth(4), "Shift")):
        card.hover()
        card.get_by_role("checkbox").click(modifiers=[modifier] if modifier else None)  # type: ignore[list-item]
    expect(page.get_by_text("4 selected")).to_be_visible()
    page.get_by_role("button", name="Relabel …").click()
    page.get_by_role("dialog").get_by_label("Label").fill("rounds")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notice")).to_contain_text("4 images: labeled “rounds”.")
    assert len(httpx2.get(f"{own_url}/images?label=rounds").json()["images"]) == 4
    page.goto(f"{own_url}/?view=library&label=rounds")
    cards = open_library(page, 4)
    cards.first.hover()
    cards.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Select all shown").click()
    first = httpx2.get(f"{own_url}/images?label=rounds").json()["images"][0]["id"]
    httpx2.delete(f"{own_url}/images/{first}").raise_for_status()  # meanwhile, by somebody else
    page.locator(".selection").get_by_role("button", name="Delete").click()
    expect(page.locator("#notice")).to_contain_text("4 images deleted.")
    assert httpx2.get(f"{own_url}/images?label=rounds").json()["total"] == 0
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("rounds: 4 images")


def test_keys_are_asked_for_and_kept(locked_url: str, open_page: OpenPage) -> None:
    page = open_page(locked_url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server needs an API key")
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("This server needs an API key.")
    page.get_by_role("button", name="Try now").click()
    page.locator("#key").fill("not-a-key-of-ours")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("This server doesn't know that key")
    page.locator("#key").fill("ключ" * 4)  # no header can contain these letters
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.locator("#key").fill(f"{READ} ")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".start .card")).to_have_count(3)
    assert page.locator(".start .card img").first.evaluate(WIDTH) == 256
    page.goto(f"{locked_url}/?view=library")
    cards = open_library(page, 60)
    cards.first.hover()
    cards.first.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("This key can't do that")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Your API key isn't allowed to do that.")
    page.get_by_role("button", name="Try now").click()
    page.locator("#key").fill(WRITE)
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("deleted.")


def test_originals_that_a_key_opens_are_fetched_once_and_not_kept(locked_url: str, open_page: OpenPage) -> None:
    page = open_page(locked_url)
    page.evaluate(COUNT_OBJECT_URLS)
    page.locator("#key").fill(READ)
    page.keyboard.press("Enter")
    page.locator(".start .card").first.hover()
    originals = list[str]()
    page.on("request", lambda request: originals.append(request.url) if request.url.endswith("/image") else None)
    page.locator(".start .card .details").first.click()
    for _ in range(3):
        expect(page.get_by_role("link", name="Open original")).to_be_visible()
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="Open original")).to_be_visible()
    page.wait_for_function("objectUrls.size === 1")
    assert len(originals) == len(set(originals)) == 3


def test_what_is_deleted_elsewhere_is_not_counted(
    artifact: Artifact, index_path: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    with serve_copy(artifact, index_path, tmp_path) as address:
        page = open_page(address)
        expect(page.locator(".promise")).to_contain_text("the most similar of 90 images")
        httpx2.delete(f"{address}/images/1").raise_for_status()
        page.get_by_role("link", name="Search", exact=True).click()
        expect(page.locator(".promise")).to_contain_text("the most similar of 89 images")


def test_a_file_that_is_gone_fails_alone(own_url: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"{own_url}/?view=library")
    files = [tmp_path / "gone.jpg", tmp_path / "there.jpg"]
    for number, file in enumerate(files):
        file.write_bytes(encode(draw("circles", np.random.default_rng(70 + number))))
    page.locator(".upload input[type=file]").first.evaluate(KEEP_FILES)
    page.locator(".upload input[type=file]").first.set_input_files(files)
    expect(page.get_by_role("paragraph").filter(has_text="2 of 2 images added.")).to_be_visible()
    files[0].unlink()
    page.evaluate(DROP_AGAIN)
    counts = page.get_by_role("paragraph").filter(has_text="0 of 2 images added, 1 already there, 1 failed.")
    expect(counts).to_be_visible()
    expect(page.locator(".failures")).to_contain_text("“gone.jpg” can't be read. Check that it's a file")


def test_the_detail_view_relabels_and_deletes_each_image(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=stripes")
    page.locator(".library .card").first.hover()
    page.locator(".library .card .details").first.click()
    page.keyboard.press("ArrowRight")
    name = page.locator("#detail-heading").inner_text()
    page.locator("#detail").get_by_role("button", name="Relabel").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Label of {name}")


@pytest.mark.slow
def test_a_double_click_deletes_one_image(own_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{own_url}/?view=library&label=checks")
    count = httpx2.get(f"{own_url}/images?label=checks&limit=1").json()["total"]
    cards = open_library(page, count)
    cards.first.hover()
    cards.first.get_by_role("button", name="Delete").dblclick(delay=100)
    page.get_by_role("button", name="Undo").click()
    open_library(page, count)


def test_a_library_that_is_only_read_says_so(small_url: str, images: Path, open_page: OpenPage) -> None:
    page = open_page(f"{small_url}/?view=library")
    cards = open_library(page, 60)
    page.locator(".upload input").first.set_input_files(images / "checks" / "00.jpg")
    expect(page.get_by_role("alert")).to_contain_text("This library can't be changed")
    page.get_by_role("button", name="Close this message").click()
    cards.first.hover()
    cards.first.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("This library can't be changed")
    expect(cards).to_have_count(60)


def test_without_a_library_images_are_named(artifact: Artifact, images: Path, open_page: OpenPage) -> None:
    file = images / "checks" / "00.jpg"
    with serve_page(artifact, None) as url:
        top = httpx2.post(f"{url}/classify", content=file.read_bytes()).json()["predictions"][0]
        page = open_page(url)
        page.locator("#file").set_input_files(file)
        expect(page.locator(".classes li").first).to_contain_text(top["name"])
        expect(page.locator(".results")).to_have_count(0)
        page.get_by_role("link", name="Library").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no library yet")
        command = page.locator("pre").inner_text().splitlines()[0]
        assert command == "alexnet index add --data FOLDER"
        page.close()
