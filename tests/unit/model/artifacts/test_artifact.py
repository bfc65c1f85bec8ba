"""Artifacts are published whole or not at all; every damaged file is named."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model.artifacts import artifact as artifacts
from model.artifacts import writer
from model.artifacts.artifact import Artifact, Label, Manifest, Measurement
from model.exceptions import ArtifactError
from model.files import move_durably

LABELS = (Label(id="a", name="A"), Label(id="b", name="B"))


def write(folder: Path) -> Manifest:
    (folder / "network.onnx").write_bytes(b"the weights")
    return Manifest(
        name="net",
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


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o022, 0o755), (0o002, 0o775)])
def test_the_umask_says_who_may_read_it(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        artifact = writer.publish(tmp_path / "artifacts", "net", LABELS, write)
    finally:
        os.umask(before)
    assert artifact.path.stat().st_mode & 0o777 == mode
    assert {file.stat().st_mode & 0o777 for file in artifact.path.iterdir()} == {mode & 0o666}


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> Manifest:
        (folder / "network.onnx").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match=r"can't publish in .*net: No space left on device"):
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
        (lambda path: (path / "manifest.json").write_text(" " * 5_000_000), "larger than 4,194,304 bytes"),
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
    assert artifacts.load(tmp_path).path == artifact.path


def test_a_manifest_without_the_network_or_with_broken_labels_is_refused(tmp_path: Path) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    manifest = artifact.path / "manifest.json"
    manifest.write_text(artifact.manifest.model_copy(update={"files": {}}).model_dump_json())
    with pytest.raises(ArtifactError, match=r"doesn't list network\.onnx"):
        artifacts.load(artifact.path)


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("damage", ["half copied", "stranger", "no time zone", "pipe", "folder", "sparse"])
def test_what_cannot_be_used_is_skipped_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = (writer.publish(tmp_path, "net", LABELS, write).path for _ in range(2))
    if damage == "half copied":
        (broken / "network.onnx").unlink()
    elif damage == "no time zone":
        change_manifest(broken, created="2099-01-01T00:00:00")
    else:
        (broken / "manifest.json").unlink()
    if damage == "stranger":
        (broken / "manifest.json").write_text('{"name": "page", "icons": []}')
    elif damage == "pipe":
        os.mkfifo(broken / "manifest.json")
    elif damage == "folder":
        (broken / "manifest.json").mkdir()
    elif damage == "sparse":
        (broken / "manifest.json").touch()
        os.truncate(broken / "manifest.json", 2**40)
    assert artifacts.load(tmp_path).path == whole
    assert ("skipped an artifact" in caplog.text) == (damage not in ("pipe", "folder"))  # no manifest at all
    if damage in ("half copied", "stranger", "no time zone", "sparse"):
        with pytest.raises(ArtifactError, match=str(broken)):
            artifacts.load(broken)  # named by the user
        with pytest.raises(ArtifactError, match=str(broken)):
            artifacts.load(tmp_path, served=whole)  # else the reload would change nothing


def test_a_file_that_no_artifact_has_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    monkeypatch.setattr(artifacts, "MAX_FILE_BYTES", 10)
    with pytest.raises(
        ArtifactError, match=r"labels\.json has \d+ bytes: the limit for such a file of an artifact is 10"
    ):
        artifacts.load(artifact.path)
    monkeypatch.undo()
    monkeypatch.setattr(artifacts, "MAX_NETWORK_BYTES", 10)
    with pytest.raises(
        ArtifactError, match=r"network\.onnx has 11 bytes: the limit for such a file of an artifact is 10"
    ):
        artifacts.load(artifact.path)


def test_all_are_broken(tmp_path: Path) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    (artifact.path / "labels.json").unlink()
    with pytest.raises(ArtifactError, match=r"labels\.json is missing"):
        artifacts.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../outside"}, "at name"),
        ({"name": "/tmp/outside"}, "at name"),
        ({"name": ".."}, "at name"),
        ({"name": ""}, "at name"),
        ({"name": "a\nb"}, "at name"),
        ({"name": "a" * 201}, "at name"),
        ({"version": -1}, "at version"),
        ({"version": "../1"}, "at version"),
        ({"files": {"../network.onnx": {"bytes": 1, "sha256": "0"}}}, "at files"),
    ],
)
def test_names_that_are_paths_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    change_manifest(artifact.path, **changes)
    with pytest.raises(ArtifactError, match=message):
        artifacts.load(artifact.path)
    if "name" in changes:
        with pytest.raises(ArtifactError, match="can't publish"):
            writer.publish(tmp_path, str(changes["name"]), LABELS, write)


MEASUREMENT = {"split": "test", "num_images": 10, "crops": 1, "top1_error": 0.5, "top5_error": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license": "\33[2J\nnone"}, "at license: .*control characters"),
        ({"image_contract": "\33[2J"}, "at image_contract: .*control characters"),
        ({"\33[2J\nname": 1}, r"at '\\x1b\[2J\\nname': "),
        ({"version": 10**400}, "at version"),
        ({"training": {"splits_of_ancestors": 5}}, "at training: .*pairs of a name and a checksum"),
        ({"export_difference": float("nan")}, "at export_difference"),
        ({"measurements": [MEASUREMENT | {"split": "a\nb"}]}, "at measurements.0.split: .*control characters"),
        ({"measurements": [MEASUREMENT | {"groups": {"\33[2J": 1}}]}, r"at 'measurements\.0\.groups\.\\x1b\[2J\."),
        ({"measurements": [MEASUREMENT | {"top1_error": 5}]}, "at measurements.0.top1_error"),
        ({"measurements": [MEASUREMENT | {"top1_error": float("nan")}]}, "at measurements.0.top1_error"),
        ({"measurements": [MEASUREMENT | {"top5_error": -1}]}, "at measurements.0.top5_error"),
        ({"measurements": [MEASUREMENT | {"num_images": 10**400}]}, "at measurements.0.num_images"),
    ],
)
def test_what_no_training_writes_is_an_error_that_can_be_shown(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """Not an unexpected exception: one such artifact would stop every command that lists artifacts."""
    whole, strange = (writer.publish(tmp_path, "net", LABELS, write).path for _ in range(2))
    change_manifest(strange, **changes)
    with pytest.raises(ArtifactError, match=message) as caught:
        artifacts.load(strange)
    assert str(caught.value).isprintable()
    assert artifacts.load(tmp_path).path == whole


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\0b", "a\u2028b"])
def test_a_class_name_can_be_shown(name: str) -> None:
    with pytest.raises(ValidationError, match="a class name must not"):
        Label(id="a", name=name)
    assert Label(id="N/A", name="N/A, \u3000 \u65e5\u672c").id == "N/A"


def publish_until_killed(root: Path, written: Event) -> None:
    def wait(folder: Path) -> Manifest:
        (folder / "network.onnx").write_bytes(b"half")
        written.set()
        signal.pause()
        raise AssertionError

    writer.publish(root, "net", LABELS, wait)


def test_what_a_killed_publication_left_is_deleted(tmp_path: Path) -> None:
    """But not what another process is still writing."""
    context = multiprocessing.get_context("fork")
    written = context.Event()
    process = context.Process(target=publish_until_killed, args=(tmp_path, written), daemon=True)
    process.start()
    assert written.wait(20)
    writer.publish(tmp_path, "net", LABELS, write)
    assert len(list((tmp_path / "net").glob(".unpublished-*"))) == 1
    process.kill()
    process.join()
    writer.publish(tmp_path, "net", LABELS, write)
    assert sorted(path.name for path in (tmp_path / "net").iterdir() if path.is_dir()) == ["1", "2"]


def test_two_that_publish_at_once_get_two_versions(tmp_path: Path) -> None:
    both_written = threading.Barrier(2)

    def write_together(folder: Path) -> Manifest:
        manifest = write(folder)
        both_written.wait(20)
        return manifest

    with ThreadPoolExecutor(2) as threads:
        published = threads.map(lambda _: writer.publish(tmp_path, "net", LABELS, write_together), range(2))
        assert sorted(artifact.manifest.version for artifact in published) == [1, 2]


def test_a_folder_that_was_just_created_is_not_taken_for_one_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second publication begins after the first one has created its folder, but not yet locked it."""
    created = threading.Event()
    mkdtemp = tempfile.mkdtemp

    def create_slowly(**options: Any) -> Any:
        folder = mkdtemp(**options)
        created.set()
        time.sleep(0.3)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", create_slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(writer.publish, tmp_path, "net", LABELS, write)
        assert created.wait(20)
        second = threads.submit(writer.publish, tmp_path, "net", LABELS, write)
        assert sorted(run.result().manifest.version for run in (first, second)) == [1, 2]


def test_a_file_that_is_added_meanwhile_is_kept(tmp_path: Path) -> None:
    """Files take minutes to make, so two commands may each add one at the same time."""
    artifact = writer.publish(tmp_path, "net", LABELS, write)

    def add_encoder(content: bytes) -> list[Measurement]:
        def write_encoder(file: Path) -> list[Measurement]:
            file.write_bytes(content)
            return []

        return writer.add_file(artifact, "encoder.onnx", write_encoder).manifest.measurements

    add_encoder(b"first")
    loaded = artifacts.load(artifact.path)

    def add_another(file: Path) -> list[Measurement]:
        file.write_bytes(b"int8")
        return add_encoder(b"second")

    added = writer.add_file(loaded, "network.int8.onnx", add_another)
    assert {"encoder.onnx", "network.int8.onnx"} <= added.manifest.files.keys()
    assert (added.path / "encoder.onnx").read_bytes() == b"second"


def test_killed_while_a_file_is_replaced_the_artifact_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment, each file that the manifest lists is there and matches it."""

    def write_file(content: bytes) -> Callable[[Path], list[Measurement]]:
        def write_to(file: Path) -> list[Measurement]:
            file.write_bytes(content)
            return []

        return write_to

    artifact = writer.publish(tmp_path, "net", LABELS, write)
    artifact = writer.add_file(artifact, "encoder.onnx", write_file(b"old"))

    def move_and_die(source: Path, target: Path) -> None:
        move_durably(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(writer, "move_durably", move_and_die)
        with pytest.raises(KeyboardInterrupt):
            writer.add_file(artifact, "encoder.onnx", write_file(b"new"))
    assert "encoder.onnx" not in artifacts.load(artifact.path).manifest.files
    assert "encoder.onnx" in writer.add_file(artifact, "encoder.onnx", write_file(b"new")).manifest.files


def test_what_is_published_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and its folder are synced, so that a power cut leaves no version with empty files."""
    synced = set[int]()
    fsync, rename = os.fsync, Path.rename

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def rename_what_is_synced(folder: Path, target: Path) -> Path:
        assert {path.stat().st_ino for path in (folder, *folder.iterdir())} <= synced
        synced.clear()
        return rename(folder, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", rename_what_is_synced)
    artifact = writer.publish(tmp_path, "net", LABELS, write)
    assert synced == {artifact.path.parent.stat().st_ino}


def test_a_manifest_is_utf_8_whatever_the_locale(artifact: Artifact, tmp_path: Path) -> None:
    script = (
        "import shutil, sys; from pathlib import Path; from model.artifacts.artifact import LABELS, load\n"
        "from model.artifacts.writer import publish\n"
        "source = load(Path(sys.argv[1]))\n"
        "def write(folder):\n"
        "    for name in source.manifest.files.keys() - {LABELS}:\n"
        "        shutil.copyfile(source.path / name, folder / name)\n"
        "    return source.manifest.model_copy(update={'license': '\\u00a9'})\n"
        "publish(Path(sys.argv[2]), 'other', source.labels, write)\n"
    )
    ascii_only = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", script, artifact.path, tmp_path], env=ascii_only, check=True)
    assert artifacts.load(tmp_path / "other").manifest.license == "©"
