"""Error responses: one shape, the right status and code, and no internals of the server."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError, StorageFullError
from server.app import create_app
from server.exceptions import OverloadedError, RateLimitedError
from server.responses.error_handlers import respond_to_error
from server.service import Service
from server.settings import Settings


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/classify", b"", 422, "missing_body"),
        ("/classify", b"hello", 415, "unsupported_image"),
        ("/classify", b"\xff\xd8\xff\xe0" + bytes(50), 422, "invalid_image"),
        ("/classify", bytes(5_000_001), 413, "body_too_large"),
        ("/classify?top=0", b"x", 422, "invalid_request"),
        ("/classify?crops=3", b"x", 422, "invalid_request"),
        ("/similar?k=0", b"x", 422, "invalid_request"),
        ("/similar?k=1000000", b"x", 422, "invalid_request"),
        ("/similar?k=six", b"x", 422, "invalid_request"),
        ("/nothing", b"x", 404, "not_found"),
        ("/live", b"x", 405, "method_not_allowed"),
    ],
)
def test_bad_posts(client: TestClient, path: str, content: bytes, status: int, code: str) -> None:
    answer = client.post(path, content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/images/4711", 404, "unknown_image"),
        ("/images/4711/thumbnail", 404, "unknown_image"),
        ("/images/4711/image", 404, "unknown_image"),
        ("/images/4711/similar", 404, "unknown_image"),
        ("/images/99999999999999999999999", 422, "invalid_request"),
        ("/images/0", 422, "invalid_request"),
        ("/images/x", 422, "invalid_request"),
        ("/nothing", 404, "not_found"),
        ("/classify", 405, "method_not_allowed"),
        ("/page/../app.py", 404, "not_found"),
    ],
)
def test_bad_gets(client: TestClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_wrong_method_or_address_is_told_what_to_use(client: TestClient) -> None:
    assert client.get("/classify").json()["error"]["message"] == "this path doesn't support GET: use POST"
    assert "DELETE, GET, HEAD, PATCH" in client.post("/images/1").json()["error"]["message"]
    assert "/docs lists all paths" in client.get("/nothing").json()["error"]["message"]


def test_a_browser_sees_a_page_where_there_is_nothing(client: TestClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = client.get("/nothing/at/all", headers=browser)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    for link in re.findall(r'(?:href|src)="([^"]*)"', answer.text):
        assert client.get(link, headers=browser).status_code == 200, link
    for headers in ({"Accept": "*/*"}, {"Accept": "application/json"}):
        program = client.get("/nothing", headers=headers)
        assert (program.json()["error"]["code"], program.headers["vary"]) == ("not_found", "Accept")
    assert answer.headers["vary"] == "Accept"
    assert client.get("/images/4711", headers=browser).json()["error"]["code"] == "unknown_image"
    assert client.post("/nothing", headers=browser).json()["error"]["code"] == "not_found"


def test_an_internal_error_has_an_id_and_tells_nothing(artifact: Artifact, jpeg: bytes) -> None:
    service = Service(Settings(artifact=artifact.path))
    with TestClient(create_app(service), raise_server_exceptions=False) as broken:
        service.current.model.run = None  # type: ignore[assignment, method-assign]
        answer = broken.post("/classify", content=jpeg)
        assert answer.status_code == 500
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        assert "NoneType" not in answer.text


def test_why_the_network_fails_on_some_of_several_images_is_logged(
    artifact: Artifact, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(Settings(artifact=artifact.path))
    with TestClient(create_app(service)) as broken:
        service.current.model.run = None  # type: ignore[assignment, method-assign]
        answer = broken.post("/classify", files=[("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))])
    assert [entry["error"]["code"] for entry in answer.json()] == ["inference_failed"] * 2
    assert "TypeError: 'NoneType' object is not callable" in caplog.text
    assert caplog.text.count("InferenceError: the network failed on this image") == 2


def test_an_internal_error_is_logged_once_and_goes_no_further(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    """The framework re-raises it after the response: uvicorn would log it again, gRPC would send its text."""
    service = Service(Settings(artifact=artifact.path, keys=f"admin:{'a' * 16}"))

    async def fail() -> None:
        raise RuntimeError("/a/path/of/the/server")

    service.reload = fail  # type: ignore[method-assign, assignment]
    with TestClient(create_app(service)) as broken:  # raises what reaches the HTTP server
        response = broken.post("/reload", headers={"X-API-Key": "a" * 16})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert caplog.text.count("RuntimeError: /a/path/of/the/server") == 1


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/images/17", "DELETE, GET, HEAD, PATCH"),
        ("/images", "DELETE, GET, HEAD, PATCH, POST"),
        ("/classify", "POST"),
        ("/v2/models/patterns", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_all_methods(client: TestClient, path: str, allow: str) -> None:
    response = client.put(path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)


def test_an_exception_without_an_entry_is_a_500_without_details(artifact: Artifact) -> None:
    service = Service(Settings(artifact=artifact.path))
    with TestClient(create_app(service), raise_server_exceptions=False) as broken:

        def fail() -> None:
            raise ArtifactError("/a/path/of/the/server")

        service.hold_current = fail  # type: ignore[method-assign, assignment]
        response = broken.get("/info")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "/a/path" not in response.text


@pytest.mark.parametrize(
    ("error", "seconds"), [(OverloadedError("busy", 1.2), "2"), (RateLimitedError("slow", 0.1), "1")]
)
def test_retry_after_is_never_too_early(error: OverloadedError | RateLimitedError, seconds: str) -> None:
    request = Request({"type": "http", "path": "/classify", "headers": []})
    assert respond_to_error(request, error).headers["retry-after"] == seconds


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON", "application/merge-patch+json"])
def test_whoever_sends_json_is_not_told_to_send_json(client: TestClient, media_type: str) -> None:
    answer = client.patch("/images/1", content=b'{"label": 5}', headers={"Content-Type": media_type})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_body"
    assert "label" in answer.json()["error"]["message"]
    other = client.patch("/images/1", content=b'{"label": 5}', headers={"Content-Type": "text/plain"})
    assert "send JSON, with the header" in other.json()["error"]["message"]


def test_a_full_disk_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log may be on the same disk. Other causes of a server error have their traceback."""
    request = Request({"type": "http", "path": "/images", "headers": [], "request_id": "7"})
    for kind in (StorageFullError, ArtifactError):
        error = kind("no space left")
        error.__cause__ = OSError("the cause")
        respond_to_error(request, error)
    full, other = caplog.records
    assert (full.getMessage(), full.exc_info) == ("request 7 failed: no space left", None)
    assert other.exc_info is not None
