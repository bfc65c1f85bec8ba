"""The page at /docs loads its own files only, and is served under the policy of every other page but for icons."""

from __future__ import annotations

import re

from starlette.testclient import TestClient


def test_every_file_of_the_page_is_served(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href|data-openapi)="([^"]+)"', page.text)
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200, address


def test_the_license_of_swagger_ui_is_served(client: TestClient) -> None:
    assert "Apache License" in client.get("/docs/LICENSE").text


def test_scripts_inside_the_page_are_not_allowed(client: TestClient) -> None:
    page = client.get("/docs/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "img-src 'self' blob: data:" in policy
    assert "data:" not in client.get("/").headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-cache"


def test_there_is_no_second_reference(client: TestClient) -> None:
    assert client.get("/redoc").status_code == 404
