"""An index uses only the regular, locked files that it opened; nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.files import WriteLock, open_regular
from index.folder.layout import CATALOG, LOCK
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import IndexReplacedError, IndexStoreError, ReadOnlyIndexError
from tests.helpers.indexes import features_at, make_entry

FEATURES = "features-1.f32"


def make(path: Path, artifact: Artifact, count: int) -> Path:
    index = FolderIndex.create(path, artifact)
    index.add(features_at(*range(1, count + 1)), [make_entry(n) for n in range(count)])
    index.close()
    return path


def replace_folder(path: Path, artifact: Artifact) -> None:
    path.rename(path.with_name("old"))
    make(path, artifact, 5)


def replace_catalog(path: Path, artifact: Artifact) -> None:
    make(path.with_name("other"), artifact, 5)
    os.replace(path.with_name("other") / CATALOG, path / CATALOG)


def replace_features(path: Path, artifact: Artifact) -> None:
    shutil.copy(path / FEATURES, path / "copy")
    os.replace(path / "copy", path / FEATURES)


REPLACEMENTS: dict[str, Callable[[Path, Artifact], None]] = {
    "folder": replace_folder,
    "catalog": replace_catalog,
    "features": replace_features,
    "no catalog": lambda path, _: (path / CATALOG).unlink(),
    "no features": lambda path, _: (path / FEATURES).unlink(),
    "no lock": lambda path, _: (path / LOCK).unlink(),
    "no folder": lambda path, _: shutil.rmtree(path),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_a_replaced_index_is_not_changed(artifact: Artifact, tmp_path: Path, kind: str) -> None:
    path = make(tmp_path / "i", artifact, 2)
    index = FolderIndex.create(path, artifact)
    assert not index.is_replaced()
    REPLACEMENTS[kind](path, artifact)
    before = {file.name: file.read_bytes() for file in path.glob("*[!mk]")}
    assert index.is_replaced()
    for change in (
        lambda: index.add(features_at(9), [make_entry(9)]),
        lambda: index.remove(1),
        lambda: index.restore(1),
        lambda: index.update(1, "a"),
        index.compact,
    ):
        with pytest.raises(IndexReplacedError, match="the index has been replaced since it was opened"):
            change()
    assert len(index.search(Query(np.zeros(64, np.float32), 9))) == 2  # the index as it was opened
    assert {file.name: file.read_bytes() for file in path.glob("*[!mk]")} == before
    index.close()


def test_an_index_replaced_while_it_is_written_acknowledges_nothing(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "i", artifact, 2)
    index = FolderIndex.create(path, artifact)
    add = index.catalog.add

    def replace_after(*arguments: object) -> list[int]:
        ids = add(*arguments)  # type: ignore[arg-type]
        path.rename(tmp_path / "old")
        return ids

    monkeypatch.setattr(index.catalog, "add", replace_after)
    with pytest.raises(IndexReplacedError):
        index.add(features_at(9), [make_entry(9)])
    index.close()


def test_a_successor_writes_after_the_first_stops(artifact: Artifact, tmp_path: Path) -> None:
    path = make(tmp_path / "i", artifact, 2)
    index = FolderIndex.create(path, artifact)
    replace_catalog(path, artifact)
    with pytest.raises(ReadOnlyIndexError, match="another process"):
        FolderIndex.create(path, artifact)
    index.stop_writing()
    with pytest.raises(ReadOnlyIndexError):
        index.update(1, "a")
    FolderIndex.create(path, artifact).close()
    index.close()


@pytest.mark.parametrize("name", [LOCK, CATALOG, f"{CATALOG}-wal", FEATURES])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_links_and_devices_are_refused_and_not_touched(
    artifact: Artifact, tmp_path: Path, name: str, kind: str
) -> None:
    path, victim = make(tmp_path / "i", artifact, 1), tmp_path / "victim"
    victim.write_bytes((path / name).read_bytes() if (path / name).exists() else b"")
    victim.write_bytes(victim.read_bytes() or b"precious")
    before = victim.read_bytes()
    (path / name).unlink(missing_ok=True)
    if kind == "link":
        (path / name).symlink_to(victim)
    elif kind == "hard link":
        (path / name).hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).mkdir()
    if kind == "hard link" and name.startswith(CATALOG):
        return  # SQLite's own files may have a second name
    with pytest.raises(IndexStoreError, match=f"{name} (is a link or not a regular file|has another hard link)"):  # noqa: PT012
        index = FolderIndex.create(path, artifact)
        try:
            index.add(features_at(2), [make_entry(2)])
        finally:
            index.close()
    assert victim.read_bytes() == before


def test_a_linked_file_of_codes_is_not_written(artifact: Artifact, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "codes").symlink_to(victim)
    with pytest.raises(IndexStoreError, match="is a link"):
        open_regular(tmp_path / "codes", os.O_RDWR | os.O_CREAT)
    assert victim.read_bytes() == b"precious"


def test_opening_truncates_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(b"content")
    lock = WriteLock(tmp_path / LOCK)
    with pytest.raises(ReadOnlyIndexError, match="another process"):
        WriteLock(tmp_path / LOCK)
    lock.release()
    WriteLock(tmp_path / LOCK).release()
    assert (tmp_path / LOCK).read_bytes() == b"content"


def test_rows_cut_off_while_an_index_is_open(
    artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No search returns them, no addition fills the gap with zeros that look like rows, and a warning is logged."""
    path = make(tmp_path / "i", artifact, 6)
    index = FolderIndex.create(path, artifact)
    os.truncate(path / FEATURES, 2 * 64 * 4)
    index.add(features_at(9), [make_entry(9)])
    assert set(index.damaged) == {3, 4, 5, 6}
    assert "4 images of the index at" in caplog.text
    neighbors = index.search(Query(np.zeros(64, np.float32), 9))
    assert [(n.entry.id, n.distance) for n in neighbors] == [(1, 1), (2, 2), (7, 9)]
    index.close()
    index = FolderIndex.open(path)
    assert set(index.damaged) == {3, 4, 5, 6}
    index.close()


def test_a_search_says_that_rows_are_gone(artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path / "i", artifact, 6)
    index = FolderIndex.open(path)
    os.truncate(path / FEATURES, 2 * 64 * 4)
    for _ in range(2):
        assert [n.entry.id for n in index.search(Query(np.zeros(64, np.float32), 9))] == [1, 2]
    assert index.damaged == dict.fromkeys((3, 4, 5, 6), "its row was cut off")
    assert caplog.text.count("are damaged") == 1
    index.close()


def test_rows_that_another_program_overwrites(artifact: Artifact, tmp_path: Path) -> None:
    path = make(tmp_path / "i", artifact, 6)
    index = FolderIndex.create(path, artifact)
    content = (path / FEATURES).read_bytes()
    (path / FEATURES).write_bytes(content[: 64 * 4] + b"\0" * 64 * 4 + content[2 * 64 * 4 :])
    os.utime(path / FEATURES, ns=(0, 0))
    index.update(1, "a")
    assert index.damaged == {2: "its row doesn't match its checksum"}
    index.close()


def test_an_index_below_a_read_only_mount(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock can't be opened for writing. The kernel's error is simulated, since root may write anywhere else."""
    path = make(tmp_path / "i", artifact, 2)
    real = os.open

    def refuse(name: Path, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return real(name, flags, *rest)

    monkeypatch.setattr("index.files.os.open", refuse)
    with pytest.raises(ReadOnlyIndexError, match=r"lock can't be written \(Read-only file system\)"):
        FolderIndex.create(path, artifact)
    index = FolderIndex.open(path)
    assert len(index) == 2
    index.close()
