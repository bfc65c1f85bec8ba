"""The view of the network: what it knows, how often it is right, how its training went."""

from __future__ import annotations

import re

import httpx2
from playwright.sync_api import Route, expect

from model.artifacts.artifact import Artifact
from tests.page.conftest import OpenPage


def test_the_network_its_training_and_its_mistakes(url: str, artifact: Artifact, open_page: OpenPage) -> None:
    page = open_page(f"{url}/?view=model")
    measured = artifact.manifest.measurements
    best = max(measured, key=lambda measurement: measurement.crops)
    expect(page.locator(".promise")).to_contain_text("It distinguishes 3 classes.")
    right = f"{100 * (1 - best.top1_error):.0f}"
    expect(page.locator(".promise")).to_contain_text(
        re.compile(rf"the most likely class was right for {right}(\.\d)?\s%")
    )
    facts = page.locator(".model-view dl")
    for text in ("cpu, float32", "patterns", f"{artifact.manifest.parameters:,}", artifact.manifest.license):
        expect(facts).to_contain_text(text)
    table = page.get_by_role("group", name="Measured errors")
    headings = table.get_by_role("columnheader").all_inner_texts()
    assert len(set(headings)) == len(headings) == len(measured)  # each heading says what was measured
    for measurement in measured:
        expect(table).to_contain_text(f"{100 * measurement.top1_error:.2f}\N{NO-BREAK SPACE}%")
    expect(table).not_to_contain_text("Top-5")  # three classes are too few for it
    answer = httpx2.get(f"{url}/history").json()
    last = answer["history"]["epochs"][-1]
    plot = page.get_by_role("img", name=re.compile("^top-1 error by epoch; at the end"))
    expect(plot).to_have_accessible_name(re.compile(rf"validation {100 * last['validation_top1_error']:.0f}\s%"))
    shown = [
        [int(text or 0) for text in row.locator("td").all_inner_texts()]
        for row in page.locator(".matrix tbody tr").all()
    ]
    assert shown == answer["history"]["confusion"]
    kernels = page.get_by_text("Kernels of the first layer")
    expect(kernels).to_be_visible()
    expect(page.locator("#kernels")).to_be_hidden()  # kernels that look like noise are collapsed
    kernels.click()
    expect(page.get_by_text("hardly changed from their random start")).to_be_visible()


def test_what_was_left_out_of_the_training_data(url: str, open_page: OpenPage) -> None:
    def skip(route: Route) -> None:
        answer = httpx2.get(route.request.url).json()
        answer["training"]["data"]["skipped"] = {"hidden": 2, "damaged images": 1_000}
        route.fulfill(json=answer)

    page = open_page(url)
    page.route("**/info", skip)
    page.get_by_role("link", name="Model").click()
    expect(page.locator(".model-view dl")).to_contain_text("Left outhidden: 2, damaged images: 1,000")
