"""Security headers, of every kind of response."""

from __future__ import annotations

from starlette.testclient import TestClient


def test_security_headers(client: TestClient) -> None:
    for path in ("/", "/live", "/nothing", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in headers["content-security-policy"]
