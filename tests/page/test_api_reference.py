"""The API's reference at /docs works in a browser that reaches no other host."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.page.conftest import OpenPage


@pytest.mark.slow
def test_operations_are_shown_without_a_network(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/live")
    hosts = set[str]()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(f"{url}/docs")
    page.locator(".opblock", has_text="/classify").first.click()
    expect(page.get_by_text("Number of classes.")).to_be_visible()
    assert hosts == {urlsplit(url).netloc}
