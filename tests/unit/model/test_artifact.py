"""Published whole or not at all; every damaged file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.artifacts import artifact as artifacts
from model.artifacts import writer
from model.artifacts.artifact import Label, Manifest
from model.exceptions import ArtifactError

LABELS = (Label(id="a", name="A"), Label(id="b", name="B"))


def write(folder: Path) -> Manifest:
    (folder / "network.onnx").write_bytes(b"the weights")
    return Manifest(
        name="",
        version=0,
        created=writer.utc_now(),
        num_classes=2,
        feature_dim=4,
        parameters=10,
        license="none",
        training={},
        export_difference=0.0,
    )


def test_versions_count_up_and_the_newest_is_found(tmp_path: Path) -> None:
    first = writer.publish(tmp_path, "net", LABELS, write)
    second = writer.publish(tmp_path, "net", LABELS, write)
    assert (first.manifest.version, second.manifest.version) == (1, 2)
    assert artifacts.load(tmp_path).path == artifacts.load(tmp_path / "net").path == second.path
    assert artifacts.load(first.path) == first
    assert first.labels == LABELS


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> Manifest:
        (folder / "network.onnx").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        writer.publish(tmp_path, "net", LABELS, fail)
    assert list((tmp_path / "net").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "network.onnx").write_bytes(b"the weightz"), "damaged"),
        (lambda path: (path / "network.onnx").write_bytes(b"the"), "expected 11 bytes, got 3"),
        (lambda path: (path / "network.onnx").unlink(), "is missing"),
        (lambda path: (path / "labels.json").write_text("[]"), "bytes"),
        (lambda path: (path / "manifest.json").write_text("{}"), "at schema_version"),
        (lambda path: (path / "manifest.json").unlink(), "no artifact in"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    assert callable(damage)
    damage(artifact.path)
    with pytest.raises(ArtifactError, match=message):
        artifacts.load(artifact.path)


def test_a_manifest_of_the_former_format_is_refused(tmp_path: Path) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    (artifact.path / "manifest.json").write_text('{"schema_version": 1, "name": "net", "licence": "none"}')
    with pytest.raises(ArtifactError, match="made by another version of this program: train or pull it again"):
        artifacts.load(artifact.path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train one"):
        artifacts.load(tmp_path)


def test_found_where_it_is_whatever_its_folder_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = writer.publish(tmp_path / "net", "net", LABELS, write)
    (tmp_path / "net" / "net").rename(tmp_path / "net" / "renamed")
    moved = tmp_path / "net" / "renamed" / "1"
    assert artifacts.load(tmp_path / "net").path == moved
    monkeypatch.chdir(moved.parent)
    assert artifacts.load(Path()).manifest == artifact.manifest


def test_an_unfinished_publication_is_not_found(tmp_path: Path) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    unfinished = tmp_path / "net" / ".unpublished-x"
    unfinished.mkdir()
    later = artifact.manifest.model_copy(update={"version": 2})
    (unfinished / "manifest.json").write_text(later.model_dump_json())
    assert artifacts.find(tmp_path) == artifact.path


def test_a_manifest_without_the_network_or_with_broken_labels_is_refused(tmp_path: Path) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    manifest = artifact.path / "manifest.json"
    manifest.write_text(artifact.manifest.model_copy(update={"files": {}}).model_dump_json())
    with pytest.raises(ArtifactError, match=r"doesn't list network\.onnx"):
        artifacts.load(artifact.path)
