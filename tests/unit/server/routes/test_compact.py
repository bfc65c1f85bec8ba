"""/index/compact: removed images are deleted for good, in the background, and searches don't wait."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until

ADMIN, WRITE = {"X-API-Key": "a" * 16}, {"X-API-Key": "w" * 16}


@pytest.fixture
def settings(artifact: Artifact, writable_folder: Path) -> Settings:
    return Settings(artifact=artifact.path, index=writable_folder, keys=f"admin:{'a' * 16},write:{'w' * 16}")


def state_of(client: TestClient) -> dict[str, Any]:
    state: dict[str, Any] = client.get("/index/compact", headers=ADMIN).json()
    return state


def test_removed_images_are_deleted_during_searches(
    settings: Settings, writable_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, proceed, compact = threading.Event(), threading.Event(), FolderIndex.compact

    def compact_slowly(index: FolderIndex) -> int:
        begun.set()
        assert proceed.wait(20)
        return compact(index)

    monkeypatch.setattr(FolderIndex, "compact", compact_slowly)
    with TestClient(create_app(Service(settings)), raise_server_exceptions=False) as client:
        assert state_of(client) == {"state": "idle", "deleted": None}
        assert client.delete("/images?label=checks", headers=WRITE).json()["changed"] == 11
        started = client.post("/index/compact", headers=ADMIN)
        assert (started.status_code, started.json()) == (202, {"state": "running", "deleted": None})
        assert begun.wait(20)
        assert client.post("/index/compact", headers=ADMIN).status_code == 202  # the same job
        assert len(client.get("/images/12/similar?k=30", headers=ADMIN).json()["neighbors"]) == 22
        proceed.set()
        wait_until(lambda: state_of(client)["state"] != "running")
        assert state_of(client) == {"state": "done", "deleted": 11}
        assert len(client.get("/images/12/similar?k=30", headers=ADMIN).json()["neighbors"]) == 22
        restored = client.patch("/images", headers=WRITE, json={"with_label": "checks", "removed": False})
        assert restored.json()["changed"] == 0
        assert client.delete("/images/12", headers=WRITE).status_code == 204
    assert (writable_folder / "features-2.f32").stat().st_size == 22 * 64 * 4


def test_who_may(client: TestClient, settings: Settings) -> None:
    without_keys = client.post("/index/compact")
    assert (without_keys.status_code, without_keys.json()["error"]["code"]) == (403, "forbidden")
    with TestClient(create_app(Service(settings)), raise_server_exceptions=False) as locked:
        for method in ("GET", "POST"):
            assert locked.request(method, "/index/compact", headers=WRITE).status_code == 403
            assert locked.request(method, "/index/compact").status_code == 401


def test_an_index_that_is_only_read(settings: Settings) -> None:
    read_only = settings.model_copy(update={"read_only": True})
    with TestClient(create_app(Service(read_only)), raise_server_exceptions=False) as client:
        refused = client.post("/index/compact", headers=ADMIN)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "read_only_index")
