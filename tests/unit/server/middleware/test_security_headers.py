"""Security headers, of every kind of response."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings


def test_security_headers(client: TestClient) -> None:
    for path in ("/", "/live", "/nothing", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in headers["content-security-policy"]


def test_pages_are_not_kept_and_only_the_reference_has_data_urls(client: TestClient) -> None:
    for path, is_page in (("/", True), ("/page/page.css", True), ("/docs", True), ("/live", False), ("/labels", False)):
        headers = client.get(path).headers
        assert (headers.get("cache-control") == "no-cache") == is_page, path
        assert ("data:" in headers["content-security-policy"]) == (path == "/docs"), path


@pytest.mark.parametrize(("root_path", "base"), [("", "'none'"), ("/vision", "'self'")])
def test_only_the_page_below_a_prefix_sets_the_base_of_its_addresses(
    artifact: Artifact, root_path: str, base: str
) -> None:
    service = Service(Settings(artifact=artifact.path, root_path=root_path))
    with TestClient(create_app(service), root_path=root_path) as client:
        assert f"base-uri {base}" in client.get("/").headers["content-security-policy"]
        assert "base-uri 'none'" in client.get("/live").headers["content-security-policy"]


def test_other_origins_show_images_only_if_they_may(artifact: Artifact) -> None:
    service = Service(Settings(artifact=artifact.path, cors_origins="*"))
    with TestClient(create_app(service)) as client:
        assert client.get("/live").headers["cross-origin-resource-policy"] == "cross-origin"
