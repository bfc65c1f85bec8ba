"""What a person does with the page: drop an image, read what it is, look at similar images, search on, go back."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.page.conftest import (
    PHONE,
    RESULTS,
    SCREENSHOTS,
    WIDE,
    OpenPage,
    hand_over,
    result_ids,
    wait_for_answer,
)

PATCH_JSON = """(() => {
  const read = Response.prototype.json;
  Response.prototype.json = async function () {
    const answer = await read.call(this);
    PATCH
    return answer;
  };
})()"""
"""Changes the server's answers before the page sees them; the code in place of PATCH edits `answer`."""
SHARES = "bars => bars.map(bar => Math.round(parseFloat(bar.firstChild.style.getPropertyValue('--share'))))"


@pytest.mark.parametrize("window", [WIDE, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["wide", "phone"])
def test_drop_an_image_read_its_answer_search_from_a_neighbor_and_return(
    window: dict[str, Any], url: str, open_page: OpenPage, jpeg: bytes
) -> None:
    page = open_page(url, **window)
    expect(page.locator(".class-chips li")).to_have_text(["checks", "circles", "stripes"])
    expect(page.locator(".start .card")).to_have_count(3)  # one of each class
    expect(page.get_by_text("Take a photo")).to_be_visible(visible="is_mobile" in window)
    hand_over(page, {"mine.jpg": jpeg})
    wait_for_answer(page)
    classes = httpx2.post(f"{url}/classify", content=jpeg).json()["predictions"]
    top = page.locator(".classes li").first
    expect(top.locator(".name")).to_contain_text(classes[0]["name"])
    expect(top.get_by_role("meter")).to_have_attribute(
        "aria-valuetext", f"{100 * classes[0]['probability']:.2f}\N{NO-BREAK SPACE}%"
    )
    bars = page.locator(".classes").get_by_role("meter").evaluate_all(SHARES)
    assert bars == [round(100 * prediction["probability"]) for prediction in classes][: len(bars)]
    nearest = httpx2.post(f"{url}/similar?k=13", content=jpeg).json()["neighbors"]
    expect(page.locator(".known")).to_have_text("✓ In the library as 04.jpg, labeled stripes")
    shown = result_ids(page)
    assert shown == [neighbor["id"] for neighbor in nearest][1:]  # without the image itself
    bars = page.locator(RESULTS).get_by_role("meter").evaluate_all(SHARES)
    assert bars == [round(100 * neighbor["similarity"]) for neighbor in nearest][1:]  # shares of 1, not of the nearest
    expect(page.locator(RESULTS).first).to_contain_text(f"{nearest[1]['similarity']:.2f}")
    expect(page.locator(".summary")).to_contain_text(re.compile(r"90 images searched in [\d.]+ ms"))
    assert page.locator(".large").evaluate("image => image.naturalWidth") == 340  # the file, not its preview
    page.screenshot(path=SCREENSHOTS / f"answer-{page.viewport_size['width']}.png")  # type: ignore[index]
    page.locator(f"{RESULTS} > a").nth(1).click()
    expect(page).to_have_url(f"{url}/?id={shown[1]}")
    wait_for_answer(page)
    expect(page.locator("#image-heading")).to_be_focused()
    assert shown[1] not in result_ids(page)
    page.get_by_role("button", name="Back to your image").click()
    wait_for_answer(page)
    assert result_ids(page) == shown
    page.go_back()
    expect(page).to_have_url(f"{url}/?id={shown[1]}")
    wait_for_answer(page)
    page.go_back()
    expect(page.locator("figcaption .file")).to_have_text("mine.jpg")
    wait_for_answer(page)
    assert result_ids(page) == shown


def test_waiting_shows_the_image_and_can_be_cancelled(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    expect(page.locator(".start .card")).to_have_count(3)
    page.route(re.compile("/classify"), lambda route: None)
    hand_over(page, {"mine.jpg": jpeg})
    expect(page.locator(".large")).to_be_visible()
    expect(page.locator(".answer .skeleton")).to_have_count(4)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".start .card")).to_have_count(3)
    page.unroute_all(behavior="ignoreErrors")


def test_files_are_queued_and_named_one_by_one(url: str, open_page: OpenPage, images: Path) -> None:
    page = open_page(url)
    files = {kind: (images / kind / "00.jpg").read_bytes() for kind in ("checks", "circles")}
    hand_over(page, {"a.jpg": files["checks"], "b.txt": b"no image", "c.jpg": files["circles"]}, "paste")
    tiles = page.locator("#queue li")
    for tile, content in zip((tiles.nth(0), tiles.nth(2)), files.values(), strict=True):
        name = httpx2.post(f"{url}/classify", content=content).json()["predictions"][0]["name"]
        expect(tile.locator(".note")).to_contain_text(f"{name}, ")
    expect(tiles.nth(1)).to_contain_text("It isn't an image that this server can read.")
    tiles.nth(2).get_by_role("button").click()
    expect(page.locator("figcaption .file")).to_have_text("c.jpg")
    wait_for_answer(page)
    page.locator("#file").set_input_files([images / "checks" / "00.jpg", images / "checks" / "01.jpg"])
    expect(tiles).to_have_count(2)
    page.get_by_role("button", name="Search with all of them").click()
    expect(page.get_by_role("list", name="More like").locator(".chip")).to_have_count(2)
    wait_for_answer(page)


def test_more_and_less_like_this_make_an_address(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    wait_for_answer(page)
    first = result_ids(page)
    page.locator(RESULTS).nth(0).hover()
    page.locator(RESULTS).nth(0).get_by_role("button", name="More like this").click()
    expect(page).to_have_url(f"{url}/?id=17&id={first[0]}")
    wait_for_answer(page)
    away = result_ids(page)[5]
    page.locator(RESULTS).nth(5).get_by_role("button", name="Less like this").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{url}/?id=17&id={first[0]}&minus={away}")
    wait_for_answer(page)
    expect(page.get_by_text("These are the classes of the first image only.")).to_be_visible()
    asked = httpx2.get(f"{url}/images/17/similar?id={first[0]}&minus={away}&k=15").json()["neighbors"]
    shown = result_ids(page)
    assert shown == [n["id"] for n in asked if n["id"] not in (17, first[0], away)][:12]
    page.reload()
    wait_for_answer(page)
    assert result_ids(page) == shown
    page.get_by_role("button", name=f"Remove image {away} from the query").click()
    expect(page).to_have_url(f"{url}/?id=17&id={first[0]}")


def test_label_filter_and_more_by_scrolling(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    page.get_by_role("combobox", name="Label").select_option("circles")
    expect(page).to_have_url(f"{url}/?id=17&label=circles")
    wait_for_answer(page)
    expect(page.locator(".summary")).to_contain_text("30 images labeled circles")
    more, deadline = page.get_by_role("button", name="Show more"), time.monotonic() + 30
    while more.is_visible():
        assert time.monotonic() < deadline
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(30)
    asked = httpx2.get(f"{url}/images/17/similar?label=circles&k=40").json()["neighbors"]
    assert result_ids(page) == [n["id"] for n in asked if n["id"] != 17]
    assert set(page.locator(f"{RESULTS} .label").all_text_contents()) == {"circles"}


def test_scrolling_does_not_ask_a_busy_server_again_and_again(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    wait_for_answer(page)
    requests = list[str]()

    def refuse(route: Route) -> None:
        requests.append(route.request.url)
        error = {"code": "overloaded", "message": "busy", "request_id": ""}
        route.fulfill(status=503, headers={"Retry-After": "60"}, json={"error": error})

    page.route("**/similar?*", refuse)
    for y in range(20):  # the second page was fetched with the first
        page.evaluate("y => scrollTo(0, document.body.scrollHeight - y)", y % 3)
        page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(done), 50))")
    expect(page.get_by_role("alert")).to_contain_text("The server is busy.")
    assert len(requests) == 1


def test_the_detail_view_shows_the_original(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17")
    wait_for_answer(page)
    ids = result_ids(page)
    opener = page.locator(RESULTS).first.get_by_role("button", name="Details")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    for number in (ids[0], ids[1]):
        known = httpx2.get(f"{url}/images/{number}").json()
        expect(dialog.get_by_role("heading")).to_have_text(known["file"])
        expect(dialog).to_contain_text(f"{known['width']} × {known['height']} {known['format']}")
        expect(dialog.get_by_role("link", name="Open original")).to_have_attribute("href", f"images/{number}/image")
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_a_search_whose_time_a_proxy_keeps(url: str, open_page: OpenPage) -> None:
    def drop_timing(route: Route) -> None:
        response = route.fetch()
        headers = {name: value for name, value in response.headers.items() if name != "server-timing"}
        route.fulfill(response=response, headers=headers)

    page = open_page(url)
    page.route(re.compile("/similar"), drop_timing)
    page.goto(f"{url}/?id=1")
    expect(page.locator(".results .summary")).to_contain_text("90 images searched. Bars:")


def test_the_ten_crops_are_drawn_on_demand(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=1")
    page.get_by_text("What the network sees").click()
    expect(page.locator(".crops canvas")).to_have_count(10)
    left, mirrored = (
        page.locator(".crops canvas")
        .nth(number)
        .evaluate("c => [...c.getContext('2d').getImageData(0, 9, 224, 1).data]")
        for number in (4, 9)
    )
    pixels = [mirrored[4 * x : 4 * x + 4] for x in range(224)]
    assert [value for pixel in reversed(pixels) for value in pixel] == left


def copy_question(page: Page) -> dict[str, str]:
    """What each copy button copies, by its name."""
    copied = {}
    for name in ("curl", "Python", "JSON"):
        page.get_by_role("button", name=f"Copy as {name}").click()
        expect(page.get_by_role("button", name=f"Copy as {name}")).to_have_text("Copied")
        copied[name] = page.evaluate("navigator.clipboard.readText()")
    return copied


def test_the_question_is_copied_as_a_command_a_program_and_its_answer(
    url: str, open_page: OpenPage, images: Path, tmp_path: Path
) -> None:
    page = open_page(url, permissions=["clipboard-read", "clipboard-write"])
    file = images / "stripes" / "04.jpg"
    (tmp_path / "it's.jpg").write_bytes(file.read_bytes())
    page.locator("#file").set_input_files(tmp_path / "it's.jpg")
    wait_for_answer(page)
    copied = copy_question(page)
    answer = json.loads(copied["JSON"])
    for command, key in zip(copied["curl"].splitlines(), ("classify", "similar"), strict=True):
        ran = json.loads(subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True).stdout)
        field = "predictions" if key == "classify" else "neighbors"
        assert [entry.get("name", entry.get("id")) for entry in ran[field]] == [
            entry.get("name", entry.get("id")) for entry in answer[key][field][: len(ran[field])]
        ]
    compile(copied["Python"], "copied", "exec")
    assert f'url = "{url}"' in copied["Python"]


def test_the_copied_question_has_its_other_images_and_its_label(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=1&id=40&minus=5&label=stripes", permissions=["clipboard-read", "clipboard-write"])
    wait_for_answer(page)
    copied = copy_question(page)
    expected = [neighbor["id"] for neighbor in json.loads(copied["JSON"])["similar"]["neighbors"]]
    command = copied["curl"].splitlines()[1]
    ran = subprocess.run(command, shell=True, check=True, capture_output=True).stdout
    assert [neighbor["id"] for neighbor in json.loads(ran)["neighbors"]] == expected[:6]
    assert "/images/1/similar?k=6&id=40&minus=5&label=stripes" in copied["Python"]


def test_an_unfamiliar_image_is_said_to_be_one_and_similar_images_come_first(
    url: str, open_page: OpenPage, jpeg: bytes
) -> None:
    page = open_page(url)
    page.add_init_script(
        PATCH_JSON.replace(
            "PATCH", "if (answer.predictions) Object.assign(answer, {familiar: false, familiarity: 0.01});"
        )
    )
    page.reload()
    hand_over(page, {"noise.jpg": jpeg})
    wait_for_answer(page)
    notice = page.get_by_role("note")
    expect(notice).to_contain_text("Unlike anything the network was trained on.")
    expect(notice).to_contain_text(
        "less familiar than 99\N{NO-BREAK SPACE}% of the images that were kept out of training"
    )
    order = page.locator(".found > section").evaluate_all("all => all.map(section => section.className)")
    assert order == ["query-image", "results", "answer"]
    least = "import('./page/answer.js').then(answer => answer.unfamiliarNotice({familiarity: 0}, true).textContent)"
    assert "less familiar than all images that were kept out of training" in page.evaluate(least)


def test_what_a_failure_of_the_network_is_called(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    said = """import('./page/error-texts.js').then(({errorText}) => [
        errorText({code: 'inference_failed'}), errorText({code: 'inference_failed'}, 'It')])"""
    assert page.evaluate(said) == [
        "The image can't be classified: the network failed on it. The server's log says why.",
        "It can't be classified: the network failed on it. The server's log says why.",
    ]


def test_what_was_left_out_of_an_image_is_said(url: str, open_page: OpenPage) -> None:
    """The browser still shows the other frames."""
    page, buffer = open_page(url), io.BytesIO()
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    hand_over(page, {"moving.gif": buffer.getvalue()})
    wait_for_answer(page)
    expect(page.locator(".answer")).to_contain_text("It has several images: the first was used.")


def test_a_familiarity_that_too_few_images_tell_is_shown_with_that(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    told = "if (answer.predictions) Object.assign(answer, {familiar: null, familiarity: 0.25});"
    page.add_init_script(PATCH_JSON.replace("PATCH", told))
    page.reload()
    hand_over(page, {"few.jpg": jpeg})
    wait_for_answer(page)
    expect(page.locator(".answer details").first).to_contain_text("; there were too few of them to judge by.")
    expect(page.get_by_role("note")).to_have_count(0)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (0, "✓ Right: that is its label."),
        (1, "✗ Its label is {}, ranked number 2."),
        (2, "✗ Its label is {}, not among the top 2 classes."),
    ],
)
def test_the_answer_is_compared_with_the_label(place: int, text: str, url: str, open_page: OpenPage) -> None:
    image = httpx2.get(f"{url}/images/17/image").content
    classes = httpx2.post(f"{url}/classify", content=image).json()["predictions"]
    label = classes[place]["name"]
    page = open_page(f"{url}/live")
    patch = f"if (answer.id === 17) answer.label = '{label}'; if (answer.predictions) answer.predictions.length = 2;"
    page.add_init_script(PATCH_JSON.replace("PATCH", patch))
    page.goto(f"{url}/?id=17")
    wait_for_answer(page)
    expect(page.locator(".label-note")).to_have_text(text.format(label))


def test_an_answer_is_not_wrong_where_the_label_is_no_class_of_the_network(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/live")
    page.add_init_script(PATCH_JSON.replace("PATCH", "if (answer.id === 17) answer.label = 'holiday 2024';"))
    page.goto(f"{url}/?id=17")
    wait_for_answer(page)
    answer = page.locator(".answer")
    expect(answer).to_contain_text("Its label is holiday 2024, which isn't one of the network's classes.")
    expect(answer.locator(".label-note")).to_have_count(0)


def test_a_server_without_an_index_offers_no_search(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    patch = "if (answer.num_classes) answer.index = null; if (answer.predictions) answer.familiar = false;"
    page.add_init_script(PATCH_JSON.replace("PATCH", patch))
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Classify an image")
    hand_over(page, {"a.jpg": jpeg, "b.jpg": jpeg})
    expect(page.locator("#queue .named").nth(1)).to_contain_text("unfamiliar, perhaps ")
    expect(page.get_by_role("note")).to_contain_text("Don't rely on the names.")
    expect(page.get_by_role("button", name="Close the list of files")).to_be_visible()
    expect(page.get_by_role("button", name="Search with all of them")).to_be_hidden()


@pytest.mark.slow
def test_a_label_that_no_image_has_is_said_to_have_none(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?label=nope")
    expect(page.get_by_role("heading", name="No image has the label nope")).to_be_visible()
    page.goto(f"{url}/?id=17&label=nope")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile("^No image in the library has the label 'nope': check its")
    )
    page.goto(f"{url}/?view=library&label=nope")
    expect(page.get_by_role("heading", level=1)).to_have_text("No image has the label nope")
    page.get_by_role("link", name="Show all images").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Library: 90 images")
    expect(page.get_by_role("link", name="Show all images")).to_be_hidden()


@pytest.mark.slow
def test_names_have_one_order_everywhere(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/live")
    patch = """const names = ["B 10", "b 2", "a"];
    if (answer.labels) answer.labels = names.map(label => ({label, images: 1}));
    if (answer.classes) answer.classes = names.map((name, index) => ({index, id: name, name}));
    if (answer.history) answer.history.confusion = [[1, 2, 3], [4, 5, 6], [7, 8, 9]];"""
    page.add_init_script(PATCH_JSON.replace("PATCH", patch))
    for address, names, others in (
        ("", ".class-chips li", 0),
        ("?view=library", ".labels .label", 1),
        ("?id=17", ".controls option", 1),
        ("?view=model", ".matrix tbody th", 0),
    ):
        page.goto(f"{url}/{address}")
        expect(page.locator(names)).to_have_count(3 + others)
        texts = [text.split(" (")[0] for text in page.locator(names).all_text_contents()]
        assert texts[others:] == ["a", "b 2", "B 10"], address
    assert page.locator(".matrix tbody td").all_inner_texts() == list("987654321")


def test_an_image_names_whom_it_is_from(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    credit = (
        '{author: "A. Nyone", author_page: "https://example.org/a", page: "javascript:alert(1)", license: "CC BY 2.0"}'
    )
    page.add_init_script(
        PATCH_JSON.replace("PATCH", f"for (const entry of answer.neighbors ?? []) entry.attribution = {credit};")
    )
    page.goto(f"{url}/?id=17")
    wait_for_answer(page)
    line = page.locator(RESULTS).first.locator(".credit")
    expect(line).to_have_text("by A. Nyone, CC BY 2.0")
    expect(line.get_by_role("link")).to_have_attribute("href", "https://example.org/a")  # and no link to a script


def test_what_is_wrong_with_a_file_is_said_and_the_answer_before_stays(
    url: str, open_page: OpenPage, jpeg: bytes
) -> None:
    page = open_page(url)
    hand_over(page, {"good.jpg": jpeg})
    wait_for_answer(page)
    for content, text in {
        b"": "“bad.jpg” is empty.",
        b"no image": "“bad.jpg” isn't an image that this server can read.",
        jpeg[:2000]: "“bad.jpg” is damaged or incomplete.",
    }.items():
        hand_over(page, {"bad.jpg": content})
        expect(page.get_by_role("alert")).to_contain_text(text)
        expect(page.locator("figcaption .file")).to_have_text("good.jpg")
        expect(page.locator(RESULTS)).to_have_count(12)
    page.get_by_role("button", name="Close this message").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.evaluate(
        "() => { const data = new DataTransfer(); data.setData('text/plain', 'https://example.org/a.jpg');"
        "document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, clipboardData: data})); }"
    )
    expect(page.get_by_role("alert")).to_contain_text("This server doesn't download images from links.")
    page.goto(f"{url}/?id=4711")
    expect(page.get_by_role("alert")).to_contain_text(
        "The library has no image with the id 4711: it may have been deleted. Choose another image in the library."
    )
    expect(page.locator(".start .card")).to_have_count(3)


def test_after_a_reload_the_history_shows_no_other_file(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url)
    for name in ("before.jpg", "after.jpg"):
        hand_over(page, {name: jpeg})
        wait_for_answer(page)
        if name == "before.jpg":
            page.reload()
    page.go_back()
    expect(page.locator(".start .card")).to_have_count(3)


def test_a_link_to_what_is_shown_adds_nothing_to_the_history(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=model")
    for _ in range(3):
        page.get_by_role("link", name="Search", exact=True).click()
        expect(page.locator(".start .card")).to_have_count(3)
    page.go_back()
    expect(page.locator("#model-heading")).to_be_visible()


def test_long_class_names_are_broken(url: str, open_page: OpenPage) -> None:
    page = open_page(url, **PHONE)
    page.add_init_script(
        PATCH_JSON.replace("PATCH", "answer.classes?.forEach(item => { item.name = 'a'.repeat(200); });")
    )
    page.reload()
    expect(page.locator(".class-chips li").first).to_contain_text("aaa")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_bars_are_there_in_forced_colors(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?id=17", forced_colors="active")
    wait_for_answer(page)
    drawn = page.locator(".meter span").first.evaluate("bar => getComputedStyle(bar).backgroundImage")
    assert "gradient" in drawn


def test_dragging_a_file_says_what_dropping_does(url: str, open_page: OpenPage) -> None:
    page = open_page(url)
    hand_over(page, {"a.jpg": b"x"}, "dragover")
    expect(page.get_by_text("Drop to classify it")).to_be_visible()
    page.evaluate("document.body.dispatchEvent(new DragEvent('dragleave', {bubbles: true}))")
    expect(page.get_by_text("Drop to classify it")).to_be_hidden()
    page.get_by_role("link", name="Library").click()
    expect(page.locator(".library .card").first).to_be_visible()
    hand_over(page, {"a.jpg": b"x"}, "dragover")
    expect(page.get_by_text("Drop to add to the library")).to_be_visible()


@contextmanager
def full(url: str) -> Iterator[None]:
    """Send requests whose bodies don't end until the server is full. If one of ours is refused because the page has a
    request in flight, another takes its place."""
    with ExitStack() as stack:
        deadline = time.monotonic() + 30
        while httpx2.get(f"{url}/images/1/similar").status_code != 503:
            assert time.monotonic() < deadline
            connection = stack.enter_context(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)))
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        yield


@pytest.mark.slow
def test_overloaded_then_answered(small_url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(small_url)
    expect(page.locator(".start .card")).to_have_count(3)
    with full(small_url):
        hand_over(page, {"mine.jpg": jpeg})
        expect(page.get_by_role("alert")).to_contain_text("The server is busy.")
        expect(page.get_by_role("alert")).to_contain_text("Retrying in")
        expect(page.locator(".large")).to_be_visible()  # the image that was dropped stays
    wait_for_answer(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_offline_then_answered(url: str, open_page: OpenPage, jpeg: bytes) -> None:
    page = open_page(url, offline=False)  # a context of its own
    expect(page.locator(".start .card")).to_have_count(3)
    page.context.set_offline(True)
    hand_over(page, {"mine.jpg": jpeg})
    expect(page.get_by_role("alert")).to_contain_text("The server can't be reached.")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    wait_for_answer(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_exact_and_binary_side_by_side(url: str, open_page: OpenPage) -> None:
    """Only what the page does: what the two searches find is up to the server."""
    page = open_page(f"{url}/?id=17")
    wait_for_answer(page)
    expect(page.get_by_label("Search mode")).to_have_count(0)  # this index has no binary codes
    page.add_init_script(PATCH_JSON.replace("PATCH", "if (answer.device) answer.index.codes = {bits: 64};"))
    asked: list[str] = []

    def search_exactly(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=route.request.url.replace("search=binary", "search=exact"))

    page.route(re.compile("search="), search_exactly)
    page.reload()
    page.get_by_label("Search mode").select_option("both")
    expect(page).to_have_url(f"{url}/?id=17&search=both")
    expect(page.get_by_role("heading", name=re.compile(r"Exact: [\d.]+ ms"))).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile(r"Binary codes: [\d.]+ ms"))).to_be_visible()
    expect(page.locator(RESULTS)).to_have_count(24)
    assert {re.findall("search=(exact|binary)", address)[0] for address in asked} == {"exact", "binary"}
