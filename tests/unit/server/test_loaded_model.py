"""The loaded model: one that can't be loaded leaves nothing behind and doesn't change the one being served."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest

from index.folder.store import FolderIndex
from model.artifacts.artifact import NETWORK, Artifact, Manifest
from model.artifacts.writer import publish
from model.exceptions import ArtifactError, IndexNotFoundError
from server.exceptions import ReloadError
from server.loaded_model import LoadedModel
from server.service import Service
from server.settings import Settings
from tests.helpers.server import add_version


def test_a_reload_that_fails_does_not_change_the_index_that_is_served(
    writable_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, encoders = writable_service.current.require_index(), list[Any]()
    monkeypatch.setattr(index, "set_encoder", encoders.append)

    def fail(_: LoadedModel) -> None:
        raise ArtifactError("the network can't be run")

    async def reload_twice() -> None:
        with monkeypatch.context() as broken:
            broken.setattr(LoadedModel, "_warm_up", fail)
            with pytest.raises(ReloadError):
                await writable_service.reload()
        assert not encoders
        await writable_service.reload()
        assert encoders == [None]

    try:
        asyncio.run(reload_twice())
    finally:
        writable_service.close()


def test_a_reload_without_any_network_keeps_the_one_that_is_served(artifact: Artifact, tmp_path: Path) -> None:
    """The bundled network doesn't replace it, say when the disk of the artifacts isn't mounted."""
    own = tmp_path / "artifacts" / "mine" / "1"
    shutil.copytree(artifact.path, own)
    service = Service(Settings(home=tmp_path))
    shutil.rmtree(tmp_path / "artifacts")
    try:
        with pytest.raises(ReloadError):
            asyncio.run(service.reload())
        assert service.current.artifact.path == own
    finally:
        service.close()


def test_a_reload_to_a_network_without_an_index_says_so(
    artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = add_version(tmp_path / "artifacts", artifact)
    FolderIndex.create(first.default_index_path(tmp_path / "indexes"), first).close()
    service = Service(Settings(home=tmp_path))
    second = add_version(tmp_path / "artifacts", artifact)
    try:
        assert asyncio.run(service.reload()).index is None
        assert f"version {second.manifest.version} has no index" in caplog.text
        caplog.clear()
        FolderIndex.create(second.default_index_path(tmp_path / "indexes"), second).close()
        asyncio.run(service.reload()).require_index()
        assert "has no index" not in caplog.text
    finally:
        service.close()


def test_an_index_is_closed_if_its_codes_cannot_be_read(
    artifact: Artifact, writable_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(index: FolderIndex, _: object) -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(FolderIndex, "set_encoder", fail)
        with pytest.raises(OSError, match="Input/output error"):
            Service(Settings(artifact=artifact.path, index=writable_folder))
    FolderIndex.open(writable_folder, writable=True).close()  # it isn't locked


def test_an_index_is_not_left_open_if_the_worker_cannot_start(
    artifact: Artifact, writable_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "inference":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Service(Settings(artifact=artifact.path, index=writable_folder))
    FolderIndex.open(writable_folder, writable=True).close()  # it isn't locked


def test_the_worker_ends_if_the_index_cannot_be_opened(artifact: Artifact, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(IndexNotFoundError):
        Service(Settings(artifact=artifact.path, index=tmp_path))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "inference"]


def test_a_named_index_is_not_served_with_another_network(
    artifact: Artifact, writable_folder: Path, tmp_path: Path
) -> None:
    def write(folder: Path) -> Manifest:
        network = onnx.load(artifact.network_path)
        network.doc_string = "another one"
        onnx.save(network, folder / NETWORK)
        return artifact.manifest

    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    service = Service(Settings(artifact=tmp_path / "artifacts", index=str(writable_folder)))
    try:
        publish(tmp_path / "artifacts", "patterns", artifact.labels, write)
        with pytest.raises(ReloadError):
            asyncio.run(service.reload())
        assert service.current.artifact.manifest.version == 1
    finally:
        service.close()


def test_a_new_version_has_its_own_index(artifact: Artifact, index_of_few: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    for version in "12":
        shutil.copytree(index_of_few, tmp_path / "indexes" / "patterns" / version)
    service = Service(Settings(home=tmp_path))
    try:
        add_version(tmp_path / "artifacts", artifact)
        asyncio.run(service.reload())
        assert service.current.require_index().uri == str(tmp_path / "indexes" / "patterns" / "2")
    finally:
        service.close()


def test_a_loaded_network_is_moved_to_huge_pages(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = threading.Event()
    monkeypatch.setattr("server.loaded_model.use_huge_pages", moved.set)
    service = Service(Settings(artifact=artifact.path))
    try:
        assert moved.wait(20)
    finally:
        service.close()
