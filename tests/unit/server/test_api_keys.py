"""Keys: asked for where there are some, each for its scope, and never in an answer or a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.api_keys import ForbiddenError, KeyFileError, Keys, UnauthorizedError
from server.app import create_app
from server.service import Service
from server.settings import Settings

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
                         ("GET", "/images/1"), ("POST", "/square"), ("GET", "/images/1/square"),
                         ("GET", "/kernels"), ("GET", "/history")):  # fmt: skip
        answer = locked.request(method, path, content=jpeg)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.get("/live").status_code == locked.get("/ready").status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {READ}"}, {"X-API-Key": ADMIN}])
def test_with_one_everything(locked: TestClient, images: Path, headers: dict[str, str]) -> None:
    jpeg = (images / "checks" / "01.jpg").read_bytes()
    assert locked.post("/classify", content=jpeg, headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["", READ[:-1], READ + "x", "\u00e9" * 16])
def test_a_wrong_key(key: str) -> None:
    with pytest.raises(UnauthorizedError):
        Keys.read(None, TEXT).require("read", f"Bearer {key}", None)
    with pytest.raises(UnauthorizedError):
        Keys.read(None, TEXT).require("read", None, key)


def test_scopes_include_the_lower_ones() -> None:
    keys = Keys.read(None, TEXT)
    keys.require("read", None, WRITE)
    keys.require("write", None, ADMIN)
    with pytest.raises(ForbiddenError, match="expected a key with the scope write, found one with read"):
        keys.require("write", None, READ)
    Keys().require("admin", None, None)


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nread {READ}\n\nadmin {ADMIN}\n")
    Keys.read(file).require("admin", None, ADMIN)
    with pytest.raises(KeyFileError, match="No such file"):
        Keys.read(tmp_path / "nothing")
    for wrong in (f"reader {READ}", "read short", READ, f"read {READ} {READ}", "read " + "\u00e9" * 16):
        with pytest.raises(KeyFileError, match="at least 16 printable") as refused:
            Keys([wrong])
        assert READ[:5] not in str(refused.value)


def test_keys_have_any_printable_characters(tmp_path: Path) -> None:
    """In a file also commas; and comments are lines, whatever is in them."""
    file = tmp_path / "keys"
    file.write_text("# of ann, bob\nread abcdefgh:ijklmnop,qr\nwrite\tstuvwxyz-stuvwxyz\nadmin: 0123456789abcdef\n")
    Keys.read(file).require("read", None, "abcdefgh:ijklmnop,qr")
    Keys.read(file).require("write", None, "stuvwxyz-stuvwxyz")
    Keys.read(file).require("admin", None, "0123456789abcdef")
    Keys.read(None, "read:abcdefgh:ijklmnop").require("read", None, "abcdefgh:ijklmnop")


def test_settings_do_not_show_keys() -> None:
    assert READ not in repr(Settings(keys=TEXT))
