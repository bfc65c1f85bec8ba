"""Who may use the server: API keys and their scopes, web pages of other origins, and Host headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.exceptions import ForbiddenError, KeyFileError, UnauthorizedError
from server.security import AllowedHosts, Keys, key_of
from server.service import Service
from server.settings import Settings

ADMIN_KEY = "admin:0123456789abcdef"


@pytest.fixture(scope="module")
def asked(artifact: Artifact) -> TestClient:
    settings = Settings(artifact=artifact.path, cors_origins="https://a.example", allowed_hosts="nas.example, *.b.org")
    return TestClient(create_app(Service(settings)))


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),  # curl
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://site.example", "Sec-Fetch-Site": "same-origin"}, True),  # a proxy changed the name
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://b.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://b.example"}, False),
        ({"Origin": "http://testserver:81"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://[", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_who_may_change_something(asked: TestClient, headers: dict[str, str], passes: bool) -> None:
    for method, path in (("POST", "/classify"), ("POST", "/images"), ("POST", "/v2/models/patterns/infer")):
        answer = asked.request(method, path, headers=headers)
        assert (answer.status_code != 403) == passes, (path, answer.text)
    assert asked.get("/info", headers=headers).status_code == 200  # other pages can't read it
    assert asked.delete("/images/1", headers=headers).status_code == (404 if passes else 403)


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost.", True),
        ("me.localhost", True),
        ("workstation", True),
        ("nas.example", True),
        ("NAS.example.:8000", True),
        ("x.y.b.org", True),
        ("b.org", False),
        ("xb.org", False),
        ("a.example", False),  # an allowed origin isn't a name of this server
        ("b.example:8000", False),
        ("127.0.0.1.b.example", False),
        ("[.b", False),
    ],
)
def test_names_that_lead_here(asked: TestClient, host: str, passes: bool) -> None:
    answer = asked.get("/info", headers={"Host": host})
    assert answer.status_code == (200 if passes else 403)
    if not passes:
        assert answer.json()["error"]["code"] == "host_not_allowed"
        assert "--allowed-hosts" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "settings", [{"cors_origins": "*"}, {"allowed_hosts": "*", "cors_origins": "http://b.example"}, {"keys": ADMIN_KEY}]
)
def test_any_name_and_page_where_that_is_wanted(artifact: Artifact, settings: dict[str, str]) -> None:
    with TestClient(create_app(Service(Settings.model_validate({"artifact": artifact.path} | settings)))) as client:
        headers = {"Host": "images.example", "X-API-Key": ADMIN_KEY.partition(":")[2], "Origin": "http://b.example"}
        assert client.get("/info", headers=headers).status_code == 200
        assert client.post("/classify", headers=headers).status_code == 422  # there is no image


READ, WRITE, ADMIN = "r" * 16, "w" * 20, "a" * 32
TEXT = f"read:{READ},write:{WRITE},admin:{ADMIN}"


@pytest.fixture(scope="module")
def locked(artifact: Artifact) -> Iterator[TestClient]:
    service = Service(Settings(artifact=artifact.path, keys=TEXT))
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        yield client


def test_without_a_key_nothing_is_answered(locked: TestClient, images: Path) -> None:
    jpeg = (images / "checks" / "01.jpg").read_bytes()
    for method, path in (("POST", "/classify"), ("POST", "/similar"), ("GET", "/info"), ("GET", "/metrics"),
                         ("GET", "/images/1"), ("POST", "/preview"), ("GET", "/images/1/preview"),
                         ("GET", "/kernels"), ("GET", "/history")):  # fmt: skip
        answer = locked.request(method, path, content=jpeg)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.get("/live").status_code == locked.get("/ready").status_code == 200


def test_the_openapi_document_names_the_schemes_and_they_are_enforced(locked: TestClient) -> None:
    document = locked.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme"), scheme.get("name")) for scheme in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    unprotected = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "security" not in operation:
                unprotected.add(path)
                continue
            assert [set(option) for option in operation["security"]] == [{name} for name in schemes]
            json: dict[str, str] | None = {} if method == "patch" else None
            for key in (None, "x" * 16):
                headers = {} if key is None else {"X-API-Key": key}
                url = re.sub(r"\{.*?\}", "1", path)
                assert locked.request(method, url, headers=headers, json=json).status_code == 401, path
    assert unprotected == {"/live", "/ready", "/v2/health/live", "/v2/health/ready"}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "bearer  a "}, "a"),
        ({"authorization": "Basic a"}, None),
        ({"authorization": "a"}, None),
        ({"authorization": "Bearer ", "x-api-key": "b"}, "b"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a"),
    ],
)
def test_the_key_of_a_request(headers: dict[str, str], key: str | None) -> None:
    assert key_of(headers) == key


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {READ}"}, {"X-API-Key": ADMIN}])
def test_with_one_everything(locked: TestClient, images: Path, headers: dict[str, str]) -> None:
    jpeg = (images / "checks" / "01.jpg").read_bytes()
    assert locked.post("/classify", content=jpeg, headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["", READ[:-1], READ + "x", "\u00e9" * 16])
def test_a_wrong_key(key: str) -> None:
    with pytest.raises(UnauthorizedError):
        Keys.read(None, TEXT).require("read", key)


@pytest.mark.parametrize("authorization", ["Basic " + READ, READ, "Bearer", f"Bearer {READ}x"])
def test_a_wrong_authorization(locked: TestClient, authorization: str) -> None:
    assert locked.get("/info", headers={"Authorization": authorization}).status_code == 401


def test_scopes_include_the_lower_ones() -> None:
    keys = Keys.read(None, TEXT)
    keys.require("read", WRITE)
    keys.require("write", ADMIN)
    with pytest.raises(ForbiddenError, match="this API key has scope 'read'; 'write' is required"):
        keys.require("write", READ)
    Keys().require("admin", None)


def test_a_key_that_is_given_twice_has_its_highest_scope() -> None:
    for scopes in (("read", "admin"), ("admin", "read")):
        Keys(f"{scope} {READ}" for scope in scopes).require("admin", READ)


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nread {READ}\n\nadmin {ADMIN}\n")
    Keys.read(file).require("admin", ADMIN)
    with pytest.raises(KeyFileError, match="No such file"):
        Keys.read(tmp_path / "nothing")
    for wrong in (f"reader {READ}", "read short", READ, f"read {READ} {READ}", "read " + "\u00e9" * 16):
        with pytest.raises(KeyFileError, match="at least 16 printable") as refused:
            Keys([wrong])
        assert READ[:5] not in str(refused.value)


def test_keys_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    """A file without a key, such as an empty secret, used to open the server to everybody."""
    file = tmp_path / "keys"
    file.write_text("# none yet\n\n")
    with pytest.raises(KeyFileError, match="no API key in"):
        Keys.read(file)
    with pytest.raises(KeyFileError, match="no API key: write"):
        Keys.read(None, " , ")
    file.write_text(f"read {READ}\n")
    with pytest.raises(KeyFileError, match="keep only one"):
        Keys.read(file, TEXT)
    assert not Keys.read(None, " ")
    assert Keys.read(file, "")


def test_keys_have_any_printable_characters(tmp_path: Path) -> None:
    """In a file, keys may contain commas, and comment lines anything."""
    file = tmp_path / "keys"
    file.write_text("# of ann, bob\nread abcdefgh:ijklmnop,qr\nwrite\tstuvwxyz-stuvwxyz\nadmin: 0123456789abcdef\n")
    Keys.read(file).require("read", "abcdefgh:ijklmnop,qr")
    Keys.read(file).require("write", "stuvwxyz-stuvwxyz")
    Keys.read(file).require("admin", "0123456789abcdef")
    Keys.read(None, "read:abcdefgh:ijklmnop").require("read", "abcdefgh:ijklmnop")


def test_settings_do_not_show_keys() -> None:
    assert READ not in repr(Settings(keys=TEXT))


ORIGIN = "https://a.example"


@pytest.mark.parametrize(
    ("allowed", "expected"), [("", None), ("https://b.example", None), (f"https://b.example, {ORIGIN}", ORIGIN)]
)
def test_origins(artifact: Artifact, allowed: str, expected: str | None) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path, cors_origins=allowed)))) as client:
        answer = client.get("/info", headers={"Origin": ORIGIN})
        assert answer.headers.get("access-control-allow-origin") == expected
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        }
        before = client.options("/classify", headers=asked)
        assert before.headers.get("access-control-allow-origin") == expected
        assert (before.status_code == 200) == (expected is not None)
        refused = client.post("/classify", headers={"Origin": ORIGIN, "Content-Encoding": "none"}, content=b"x")
        assert refused.status_code == (403 if expected is None else 415)
        assert refused.headers.get("access-control-allow-origin") == expected
        host = client.get("/info", headers={"Origin": ORIGIN, "Host": "rebound.example"})
        assert (host.status_code, host.headers.get("access-control-allow-origin")) == (403, expected)
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_page_of_another_origin_can_read_a_binary_response_and_show_images(artifact: Artifact, jpeg: bytes) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path, cors_origins="*")))) as client:
        headers = {"Origin": ORIGIN, "Inference-Header-Content-Length": "0"}
        answer = client.post("/v2/models/patterns/infer", headers=headers, content=jpeg)
        exposed = {name.lower() for name in answer.headers["access-control-expose-headers"].split(", ")}
        assert {"inference-header-content-length", "etag"} <= exposed
        assert "inference-header-content-length" in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_a_key_of_15_characters_is_refused() -> None:
    with pytest.raises(KeyFileError):
        Keys(["read " + "r" * 15])
    assert Keys(["read " + "r" * 16])


def test_an_allowed_name_may_end_with_a_dot() -> None:
    AllowedHosts(["NAS.example."]).check(Request({"type": "http", "headers": [(b"host", b"nas.example")]}))
