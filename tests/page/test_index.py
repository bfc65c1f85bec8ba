"""The views of the index and of the model: add, label, remove and restore images; with keys and without."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from model.artifacts.artifact import Artifact
from tests.helpers.drawings import draw, encode
from tests.helpers.server import served
from tests.page.conftest import OpenPage

WIDTH = """async image => {
  for (let tries = 0; !image.naturalWidth && tries < 500; tries++) await new Promise(done => setTimeout(done, 20));
  return image.naturalWidth;
}"""  # with a key, images are fetched by the page: for a moment an image has no source
READ, WRITE = "r" * 16, "w" * 16


@pytest.fixture(scope="module")
def locked(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with keys."""
    home = tmp_path_factory.mktemp("locked")
    shutil.copytree(index_path, home / "index")
    keys = {"ALEXNET_INDEX": str(home / "index"), "ALEXNET_KEYS": f"read:{READ},write:{WRITE}"}
    with served(artifact, home, keys) as (address, _):
        yield address


def labels(page: Page) -> dict[str, int]:
    """The labels and counts that are shown."""
    rows = [row.split("\n") for row in page.locator("#labels li").all_inner_texts()]
    return {row[0]: int(row[1]) for row in rows}


def test_labels_and_images(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=index")
    expect(page.locator("#entries li")).to_have_count(60)
    assert labels(page) == {"all": 90, "checks": 30, "circles": 30, "stripes": 30}
    page.mouse.wheel(0, 20_000)
    expect(page.locator("#entries li")).to_have_count(90)
    page.get_by_role("link", name="circles", exact=True).click()
    expect(page).to_have_url(f"{url}/?view=index&label=circles")
    expect(page.locator("#entries li")).to_have_count(30)
    expect(page.locator("#entries-heading")).to_have_text("circles: 30 images")
    page.locator("#entries a").first.click()
    expect(page.locator("#known-label")).to_contain_text("circles is its label")
    page.go_back()
    expect(page.locator("#entries-heading")).to_have_text("circles: 30 images")


def test_a_folder_is_added_and_faults_are_named(url: str, open_page: OpenPage, tmp_path: Path) -> None:
    generator = np.random.default_rng(77)
    for kind, name in (("circles", "rings"), ("checks", "boards")):
        (tmp_path / "new" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "new" / name / f"{number}.jpg").write_bytes(encode(draw(kind, generator)))
    shutil.copy(tmp_path / "new" / "rings" / "0.jpg", tmp_path / "new" / "rings" / "again.jpg")
    (tmp_path / "new" / "boards" / "notes.txt").write_text("no image")
    (tmp_path / "new" / ".hidden").write_text("not sent")
    page = open_page(f"{url}/?view=index")
    expect(page.locator("#entries li")).to_have_count(60)
    page.locator("#new-folder").set_input_files(tmp_path / "new")
    status = page.locator("#upload-progress [role=status]")
    expect(status).to_have_text("4 of 6 images added, 1 already indexed, 1 failed.")
    refused = httpx2.post(f"{url}/images", files={"image": b"no image"}).json()["error"]["message"]
    expect(page.locator(".failures li")).to_have_text(f"new/boards/notes.txt {refused}")
    expect(page.locator("#labels")).to_contain_text("rings")
    assert labels(page) == {"all": 94, "boards": 2, "checks": 30, "circles": 30, "rings": 2, "stripes": 30}


def test_remove_undo_and_label(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=index&label=stripes")
    item = page.locator("#entries li").nth(3)
    expect(item).to_contain_text("image")
    number = int(re.findall(r"image (\d+)", item.inner_text())[0])
    item.get_by_role("button", name="Remove").click()
    expect(item).to_contain_text(f"Image {number} was removed.")
    assert httpx2.get(f"{url}/images/{number}").status_code == 404
    expect(page.locator("#entries-heading")).to_have_text("stripes: 29 images")
    expect(item.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#entries-heading")).to_have_text("stripes: 30 images")
    assert httpx2.get(f"{url}/images/{number}").json()["label"] == "stripes"
    item.get_by_role("button", name="Edit").click()
    page.keyboard.type("odd")
    page.keyboard.press("Enter")
    expect(item.locator(".label")).to_have_text("odd")
    assert httpx2.get(f"{url}/images/{number}").json()["label"] == "odd"
    item.get_by_role("button", name="Edit").click()
    page.get_by_label(f"Label of image {number}").fill("stripes")
    page.keyboard.press("Enter")
    expect(item.locator(".label")).to_have_text("stripes")


def test_keys_are_asked_for_and_kept(locked: str, open_page: OpenPage) -> None:
    page = open_page(locked)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("missing or unknown API key")
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("missing or unknown API key")
    page.get_by_role("button", name="Try now").click()
    page.locator("#key").fill("not-a-key-of-ours")
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_have_value("")  # asked again
    page.locator("#key").fill(READ)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#neighbors li")).to_have_count(6)
    assert page.locator("#neighbors img").first.evaluate(WIDTH) == 128
    page.reload()
    expect(page.locator("#neighbors li")).to_have_count(6)
    page.goto(f"{locked}/?view=index")
    item = page.locator("#entries li").first
    item.get_by_role("button", name="Remove").click()
    expect(dialog).to_contain_text("this API key has scope 'read'; 'write' is required")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("'write' is required")
    item.get_by_role("button", name="Remove").click()
    page.locator("#key").fill(WRITE)
    page.keyboard.press("Enter")
    expect(item).to_contain_text("was removed")


def test_an_index_that_is_only_read_says_so(
    artifact: Artifact, index_path: Path, images: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    environment = {"ALEXNET_INDEX": str(index_path), "ALEXNET_READ_ONLY": "true"}
    with served(artifact, tmp_path, environment) as (url, _):
        page = open_page(f"{url}/?view=index")
        page.locator("#new-files").set_input_files(images / "checks" / "00.jpg")
        expect(page.get_by_role("alert")).to_contain_text("open for reading only")
        page.locator("#entries li").first.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("alert")).to_contain_text("open for reading only")
        page.close()


def test_without_an_index_images_are_named(
    artifact: Artifact, images: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    file = images / "checks" / "00.jpg"
    with served(artifact, tmp_path, {}) as (url, _):
        top = httpx2.post(f"{url}/classify", content=file.read_bytes()).json()["predictions"][0]
        page = open_page(url)
        page.locator("#file").set_input_files(file)
        expect(page.locator("#classes li").first).to_contain_text(top["name"])
        expect(page.locator("#results")).to_be_hidden()
        page.goto(f"{url}/?view=index")
        expect(page.get_by_role("alert")).to_contain_text("this server has no index")
        page.close()


def test_the_network_that_is_served(url: str, artifact: Artifact, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=model")
    facts = page.locator("#model dl")
    for text in ("cpu, float32", "patterns", f"{artifact.manifest.parameters:,}", artifact.manifest.license):
        expect(facts).to_contain_text(text)
    rows = page.get_by_role("region", name="Measured errors").locator("tbody tr")
    expect(rows).to_have_count(2)
    for row, measurement in zip(rows.all(), artifact.manifest.measurements, strict=True):
        expect(row).to_contain_text(f"{100 * measurement.top1_error:.2f} %")
    sheet = Image.open(io.BytesIO(httpx2.get(f"{url}/kernels").content))
    assert sheet.size == (191, 71)
    assert page.locator("#kernels").evaluate(WIDTH) == 191


def test_how_the_training_went(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=model")
    expect(page.get_by_role("heading", name="Training, 4 epochs")).to_be_visible()
    answer = httpx2.get(f"{url}/history").json()
    last = answer["history"]["epochs"][-1]
    plot = page.get_by_role("img", name=re.compile("^top-1 error by epoch; at the end"))
    expect(plot).to_have_accessible_name(re.compile(f"validation {100 * last['validation_top1_error']:.0f} %"))
    expect(page.locator("polyline")).to_have_count(4)
    shown = [
        [int(text or 0) for text in row.locator("td").all_inner_texts()]
        for row in page.locator(".matrix tbody tr").all()
    ]
    assert shown == answer["history"]["confusion"]
