"""Behind a proxy: prefixes, X-Forwarded headers, absolute-form targets, and no redirects."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from model.artifacts.artifact import Artifact
from server.app import ROUTERS, create_app
from server.middleware.forwarded import ForwardedMiddleware
from server.service import Service
from server.settings import Settings

PREFIX = {"X-Forwarded-Prefix": "/vision"}
UNIX = None
"""The address of a client on a Unix socket, as uvicorn has it."""


@pytest.fixture(scope="module")
def service(artifact: Artifact) -> Iterator[Service]:
    service = Service(Settings(artifact=artifact.path, root_path="vision/", allowed_hosts="nas.example"))
    yield service
    service.close()


@contextmanager
def client_at(service: Service, address: str, **settings: str) -> Iterator[TestClient]:
    """A client at `address`; until it ends, `settings` override the service's."""
    own, service.settings = service.settings, service.settings.model_copy(update=settings)
    try:
        yield TestClient(create_app(service), client=(address, 5000), follow_redirects=False)
    finally:
        service.settings = own


def resolve(headers: dict[str, str], address: str | None, path: str = "/live", **options: Any) -> Scope:
    """The scope that the application sees; empty if it sees none."""
    seen: Scope = {}

    async def app(scope: Scope, receive: object, send: object) -> None:
        seen.update(scope)

    async def send(message: Message) -> None: ...

    scope: Scope = {
        "type": "http", "path": path, "raw_path": path.encode(), "scheme": "http", "method": "GET",
        "client": None if address is None else (address, 1), "headers": [
            (name.lower().encode(), value.encode()) for name, value in headers.items()
        ],
    }  # fmt: skip
    middleware = ForwardedMiddleware(
        app, options.get("root_path", ""), options.get("trusted", ["127.0.0.1", "10.0.0.0/8"])
    )
    asyncio.run(middleware(scope, None, send))  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize("path", ["/vision/live", "/live", "/vision/live/", "/live/"])
def test_a_proxy_may_leave_the_prefix_or_remove_it(service: Service, path: str) -> None:
    with client_at(service, "9.9.9.9") as client:
        assert client.get(path).json() == {"status": "live"}


def test_page_and_documents_are_below_the_prefix(service: Service) -> None:
    with client_at(service, "9.9.9.9") as client:
        for path in ("/", "/vision", "/vision/"):
            page = client.get(path)
            assert '<base href="/vision/">' in page.text
            assert "base-uri 'self'" in page.headers["content-security-policy"]
        assert client.get("/vision/page/app.js").headers["cache-control"] == "no-cache"
        missing = client.get("/vision/nothing/here", headers={"Accept": "text/html"})
        assert (missing.status_code, 'href="/vision/page/style.css"' in missing.text) == (404, True)
        assert 'data-openapi="/vision/openapi.json"' in client.get("/docs").text
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/vision"}]
    with client_at(service, "9.9.9.9", root_path="") as client:
        assert "<base" not in client.get("/").text
        assert "base-uri 'none'" in client.get("/").headers["content-security-policy"]


def test_a_prefix_in_a_header_counts_from_trusted_addresses(service: Service) -> None:
    with client_at(service, "127.0.0.1", root_path="") as client:
        assert 'data-openapi="/vision/openapi.json"' in client.get("/docs", headers=PREFIX).text
        assert client.get("/images/1", headers={"X-Forwarded-Prefix": "/images"}).json()["error"]["code"] == "no_index"
        wrong = client.get("/live", headers={"X-Forwarded-Prefix": '/"><script>'})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad_request")
        for long in ("/a" * 101, ", ".join(["/a"] * 101)):  # a list of 1000 images repeats it 3000 times
            assert client.get("/images/1", headers={"X-Forwarded-Prefix": long}).status_code == 400
    with client_at(service, "9.9.9.9", root_path="") as client:
        assert 'data-openapi="/openapi.json"' in client.get("/docs", headers=PREFIX).text


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", UNIX])
def test_what_a_trusted_proxy_says_counts(address: str | None) -> None:
    headers = {"X-Forwarded-For": "9.9.9.9, 10.0.0.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "nas.example"}
    trusted = ["127.0.0.1", "10.0.0.0/8", "unix"]
    scope = resolve(headers | {"X-Forwarded-Prefix": "/a, /b/"}, address, trusted=trusted)
    assert (scope["client"][0], scope["scheme"], scope["forwarded_host"]) == ("9.9.9.9", "https", "nas.example")
    assert (scope["root_path"], scope["path"]) == ("/a/b", "/a/b/live")


@pytest.mark.parametrize(("address", "shown"), [("9.9.9.9", "9.9.9.9"), (UNIX, "unix")])
def test_what_another_says_does_not(address: str | None, shown: str) -> None:
    headers = {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "b.example"}
    scope = resolve(headers | PREFIX, address)
    assert (scope["client"][0], scope["scheme"], scope["root_path"]) == (shown, "http", "")
    assert "forwarded_host" not in scope
    assert resolve(headers, address, trusted=["*"])["client"][0] == "1.1.1.1"


def test_proxies_of_this_machine_are_trusted_unless_others_are_named() -> None:
    headers = {"X-Forwarded-For": "1.1.1.1"}
    for proxies, seen in ((Settings().proxies, "1.1.1.1"), (Settings(trusted_proxies="127.0.0.1,::1").proxies, "unix")):
        assert resolve(headers, UNIX, trusted=proxies)["client"][0] == seen
    assert resolve(headers, "127.0.0.1", trusted=Settings().proxies)["client"][0] == "1.1.1.1"


def test_the_name_that_a_browser_used_is_checked(service: Service) -> None:
    """If a proxy sends its own name as Host, the page's name is in X-Forwarded-Host."""
    page = {"Host": "127.0.0.1:8000", "Origin": "https://nas.example"}
    with client_at(service, "127.0.0.1", root_path="") as client:
        assert client.post("/classify", headers=page).json()["error"]["code"] == "cross_origin"
        forwarded = client.post("/classify", headers=page | {"X-Forwarded-Host": "nas.example"})
        assert forwarded.json()["error"]["code"] == "missing_body"
        for host in ({"X-Forwarded-Host": "b.example"}, {"Host": "b.example", "X-Forwarded-Host": "nas.example"}):
            assert client.get("/info", headers=host).json()["error"]["code"] == "host_not_allowed"


def test_health_is_the_only_thing_that_answers_under_any_name(service: Service) -> None:
    with client_at(service, "9.9.9.9", root_path="") as client:
        routes = {route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)}
        urls = {re.sub(r"\{.*?\}", "1", path) for path in routes}
        for url in sorted(urls | {"/", "/docs", "/openapi.json", "/page/app.js", "/nothing"}):
            answer = client.get(url, headers={"Host": "b.example"})
            assert (answer.status_code == 200) == (url in ("/live", "/ready")), url
            assert answer.status_code in (200, 403)


@pytest.mark.parametrize("path", ["/classify/", "/metrics/", "/images/", "/v2/", "/page"])
def test_nothing_redirects(service: Service, path: str) -> None:
    with client_at(service, "127.0.0.1", root_path="") as client:
        for method in ("GET", "POST"):
            response = client.request(method, path, headers=PREFIX)
            assert response.status_code not in range(300, 400)
            assert "location" not in response.headers
        assert client.post("/classify/").json()["error"]["code"] == "missing_body"


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://nas.example:80/live", "/live", "nas.example:80"),
        ("HTTP://nas.example", "/", "nas.example"),
        ("http://user:secret@nas.example/a%20b", "/a b", "nas.example"),
        ("/live", "/live", "x"),
    ],
)
def test_absolute_form(target: str, path: str, host: str) -> None:
    scope = resolve({"Host": "x"}, "9.9.9.9", target)
    assert (scope["path"], dict(scope["headers"])[b"host"]) == (path, host.encode())
    assert b"secret" not in scope["raw_path"]


@pytest.mark.parametrize("target", ["user:secret@host:80", "ftp://user:secret@host/", "x"])
def test_other_targets_are_refused_and_not_shown(target: str) -> None:
    assert not resolve({"Host": "x"}, "9.9.9.9", target)


def test_head_is_wherever_get_is(client: TestClient) -> None:
    for path in ("/live", "/ready", "/info", "/images", "/images/1", "/images/1/image", "/v2", "/", "/docs"):
        got, head = client.get(path), client.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert client.head("/classify").status_code == 405
    assert client.head("/images/4711").status_code == 404


def test_addresses_in_responses_have_the_prefix(client: TestClient, jpeg: bytes) -> None:
    local = TestClient(client.app, client=("127.0.0.1", 5000))
    neighbor = local.post("/similar?k=1", content=jpeg, headers=PREFIX).json()["neighbors"][0]
    assert (neighbor["url"], neighbor["thumbnail"]) == (
        f"/vision/images/{neighbor['id']}", f"/vision/images/{neighbor['id']}/thumbnail",
    )  # fmt: skip
    image = local.get(neighbor["url"], headers=PREFIX | {"X-Forwarded-Prefix": ""}).json()  # without the prefix
    assert image["error"]["code"] == "not_found"
    assert local.get("/images?limit=1", headers=PREFIX).json()["images"][0]["similar"] == "/vision/images/1/similar"
    assert local.get("/images/1", headers=PREFIX).json()["image"] == "/vision/images/1/image"


@pytest.mark.parametrize("target", ["user:secret@host:80", "ftp://user:secret@host/"])
def test_a_refused_target_is_not_in_the_scope_that_is_logged(target: str) -> None:
    async def send(message: Message) -> None: ...

    scope: Scope = {
        "type": "http", "path": target, "raw_path": target.encode(), "method": "GET", "headers": [],
        "client": ("9.9.9.9", 1), "request_id": "x", "timings": None,
    }  # fmt: skip
    asyncio.run(ForwardedMiddleware(None, "", [])(scope, None, send))  # type: ignore[arg-type]
    assert scope["path"] == "-"


def test_any_proxy_among_others_is_trusted() -> None:
    scope = resolve({"X-Forwarded-For": "1.2.3.4"}, "203.0.113.9", trusted=["10.0.0.7", "*"])
    assert scope["client"][0] == "1.2.3.4"
