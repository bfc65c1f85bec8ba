"""How a server behaves whose index is replaced, damaged or on a read-only disk, or whose artifacts are broken."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from starlette.testclient import TestClient

from index.build import build, find_images
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact, Manifest
from model.artifacts.writer import publish
from model.exceptions import ArtifactError
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.drawings import draw, encode
from tests.helpers.polling import wait_until
from tests.helpers.server import add_version

ADMIN = {"X-API-Key": "a" * 16}
FEATURES = "features-1.f32"


@contextmanager
def serving(artifact: Path, index: Path | None) -> Iterator[TestClient]:
    service = Service(Settings(artifact=artifact, index=index, keys=f"admin:{'a' * 16}"))
    with TestClient(create_app(service), raise_server_exceptions=False, headers=ADMIN) as client:
        yield client


def make_index(path: Path, artifact: Artifact, model: OnnxModel, few: Path, label: str) -> Path:
    index = FolderIndex.create(path, artifact)
    build(index, model, find_images(few / label))
    index.close()
    return path


def add_image(client: TestClient, seed: int) -> int:
    image = encode(draw("checks", np.random.default_rng(seed)))
    return client.post("/images", files={"image": ("x.jpg", image)}).status_code


def num_images(client: TestClient) -> int:
    return int(client.get("/info").json()["index"]["size"])


def replace_folder(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.with_name("other").rename(path)


def replace_files(path: Path) -> None:
    """Replace the files as restoring a backup does: the lock stays."""
    for name in (CATALOG, FEATURES):
        os.replace(path.with_name("other") / name, path / name)


@pytest.mark.parametrize("replace", [replace_folder, replace_files])
def test_a_replaced_index_loses_nothing(
    artifact: Artifact, model: OnnxModel, few: Path, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    path = make_index(tmp_path / "i", artifact, model, few, "circles")
    make_index(tmp_path / "other", artifact, model, few, "checks")
    (tmp_path / "other" / "lock").unlink()
    with serving(artifact.path, path) as client:
        assert add_image(client, 1) == 200
        replace(path)
        response = client.post("/images", files={"image": ("x.jpg", encode(draw("checks", np.random.default_rng(2))))})
        assert response.status_code == 409
        message = response.json()["error"]["message"]
        assert "the index has been replaced since it was opened" in message
        assert str(tmp_path) not in message
        assert num_images(client) == 12  # still as it was opened
        assert client.post("/reload").status_code == 200
        assert num_images(client) == 11
        assert add_image(client, 3) == 200
    index = FolderIndex.open(path)
    assert (len(index), index.verify()) == (12, {})
    index.close()


def test_damage_is_in_the_log_the_metrics_and_ready(
    artifact: Artifact, model: OnnxModel, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_index(tmp_path / "i", artifact, model, few, "circles")
    os.truncate(path / FEATURES, 9 * 64 * 4)
    with serving(artifact.path, path) as client:
        assert "2 images of the index at" in caplog.text
        assert client.get("/ready").json()["status"] == "ready; 2 damaged images in the index"
        assert "alexnet_index_damaged_images 2.0" in client.get("/metrics").text
        os.truncate(path / FEATURES, 5 * 64 * 4)
        assert add_image(client, 1) == 200
        assert "alexnet_index_damaged_images 6.0" in client.get("/metrics").text
        image = encode(draw("checks", np.random.default_rng(1)))
        neighbors = client.post("/similar?k=9", files={"image": ("x.jpg", image)}).json()["neighbors"]
        assert {neighbor["id"] for neighbor in neighbors} == {1, 2, 3, 4, 5, 12}
        listed = client.get("/images?limit=5").json()
        assert [image["id"] for image in listed["images"]] == [1, 2, 3, 4, 5]
        assert (listed["total"], listed["next_cursor"]) == (6, 5)
        listed = client.get("/images?limit=5&cursor=5").json()
        assert ([image["id"] for image in listed["images"]], listed["has_more"]) == ([12], False)


def test_damage_of_a_large_index_is_named_while_it_is_served(
    artifact: Artifact, model: OnnxModel, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.folder.damage_check.MAX_ROWS_VERIFIED_AT_ONCE", 0)
    path = make_index(tmp_path / "i", artifact, model, few, "circles")
    os.truncate(path / FEATURES, 9 * 64 * 4)
    with serving(artifact.path, path) as client:
        wait_until(lambda: client.get("/ready").json()["status"] == "ready; 2 damaged images in the index")
        metrics = client.get("/metrics").text
        assert "alexnet_index_damaged_images 2.0" in metrics
        assert "alexnet_index_unverified_images 0.0" in metrics


def test_an_index_on_a_read_only_disk_is_served(
    artifact: Artifact,
    model: OnnxModel,
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, real = make_index(tmp_path / "i", artifact, model, few, "circles"), os.open

    def refuse(name: Path, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return real(name, flags, *rest)

    monkeypatch.setattr("index.files.os.open", refuse)
    with serving(artifact.path, path) as client:
        assert "open for reading only: " in caplog.text
        assert "(Read-only file system)" in caplog.text
        assert num_images(client) == 11
        assert add_image(client, 1) == 409


def test_a_network_that_answers_nan_is_not_served(artifact: Artifact, tmp_path: Path) -> None:
    def write(folder: Path) -> Manifest:
        network = onnx.load(str(artifact.network_path))
        (bias,) = [tensor for tensor in network.graph.initializer if tensor.name == "fc8.bias"]
        values = np.array(numpy_helper.to_array(bias))
        values[0] = np.nan
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        onnx.save(network, str(folder / "network.onnx"))
        return artifact.manifest

    broken = publish(tmp_path, "nan", artifact.labels, write)
    with pytest.raises(ArtifactError, match=r"can't be run: .*outputs invalid probabilities"):
        Service(Settings(artifact=broken.path))


def test_a_half_copied_newest_artifact_does_not_prevent_the_start(
    artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = add_version(tmp_path, artifact)
    (add_version(tmp_path, artifact).path / "network.onnx").unlink()
    shutil.copytree(tmp_path / "patterns" / "2", tmp_path / "stranger")
    (tmp_path / "stranger" / "manifest.json").write_text('{"name": "a page", "icons": []}')
    with serving(tmp_path, None) as client:
        assert client.get("/info").json()["model"]["version"] == whole.manifest.version == 1
        assert caplog.text.count("skipped an artifact in") == 2
        assert client.post("/reload").status_code == 409
