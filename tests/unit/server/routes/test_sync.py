"""/sync: the index of a server follows its folder, in the background and on request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from index.build import build, find_images
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until


@pytest.fixture
def photos(few: Path, tmp_path: Path) -> Path:
    for kind in ("checks", "stripes"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for path in sorted((few / kind).iterdir())[:4]:
            shutil.copy(path, tmp_path / "photos" / kind)
    return tmp_path / "photos"


@pytest.fixture
def settings(artifact: Artifact, model: OnnxModel, photos: Path, tmp_path: Path) -> Settings:
    index = FolderIndex.create(tmp_path / "index", artifact)
    build(index, model, find_images(photos))
    index.close()
    return Settings(artifact=artifact.path, index=tmp_path / "index", sync_folder=photos)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(Service(settings)), raise_server_exceptions=False) as test_client:
        yield test_client


def run(client: TestClient, query: str = "") -> dict[str, Any]:
    """Start a sync, wait for its end, and return its state."""
    assert client.post(f"/sync{query}").status_code == 202
    wait_until(lambda: client.get("/sync").json()["state"] != "running")
    result: dict[str, Any] = client.get("/sync").json()
    return result


def test_the_index_follows_the_folder(client: TestClient, photos: Path) -> None:
    assert client.get("/sync").json() == {"state": "idle"}  # nothing that could be taken for a result
    (photos / "checks" / "00.jpg").rename(photos / "stripes" / "moved.jpg")
    (photos / "checks" / "01.jpg").unlink()
    planned = run(client, "?dry_run=true")
    assert (planned["state"], planned["counts"]["moved"], planned["counts"]["gone"]) == ("done", 1, 1)
    assert client.get("/labels").json()["labels"] == [
        {"label": "checks", "images": 4},
        {"label": "stripes", "images": 4},
    ]
    done = run(client, "?prune=true")
    moved = {"kind": "moved", "path": "stripes/moved.jpg", "detail": "from checks/00.jpg, checks -> stripes"}
    assert done["changes"] == [moved, {"kind": "gone", "path": "checks/01.jpg", "detail": "image 2"}]
    assert client.get("/labels").json()["labels"] == [
        {"label": "checks", "images": 2},
        {"label": "stripes", "images": 5},
    ]


def test_a_folder_that_is_gone_changes_nothing_and_its_path_is_not_told(
    client: TestClient, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(photos)
    failed = run(client, "?prune=true")
    assert failed["state"] == "failed"
    assert str(photos) not in str(failed)
    assert f"no folder at {photos}" in caplog.text
    assert len(client.get("/images").json()["images"]) == 8


def test_a_server_that_follows_no_folder_or_only_reads(settings: Settings) -> None:
    for changed, status in (({"sync_folder": None}, 422), ({"read_only": True}, 409)):
        service = Service(settings.model_copy(update=changed))
        with TestClient(create_app(service)) as client:
            assert client.post("/sync").status_code == status


def test_an_image_of_too_many_pixels_is_skipped_as_when_it_is_sent(settings: Settings, photos: Path) -> None:
    Image.new("RGB", (200, 200)).save(photos / "checks" / "large.png")
    limited = settings.model_copy(update={"max_pixels": 10_000})
    with TestClient(create_app(Service(limited)), raise_server_exceptions=False) as client:
        done = run(client)
    assert (done["state"], done["counts"]["unreadable"]) == ("done", 1)
    (skipped,) = (change for change in done["changes"] if change["kind"] == "unreadable")
    assert skipped["path"] == "checks/large.png"
    assert "200 x 200 pixels" in skipped["detail"]
