"""An index follows its folder: every change is named and counted, and nothing is removed by mistake."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import reading
from index.build import build, find_images
from index.folder.store import FolderIndex
from index.sync import SyncReport, sync
from model.artifacts.artifact import Artifact
from model.datasets.reader import read_folder
from model.datasets.tables import read_table
from model.exceptions import DatasetError
from model.runtime import OnnxModel
from tests.helpers.drawings import draw, encode


def write(path: Path, seed: int) -> Path:
    """Write a small image with a modification time long past, so that it counts as unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(draw("checks", np.random.default_rng(seed), side=64)))
    os.utime(path, (1_000_000_000 + seed, 1_000_000_000 + seed))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """cat/0..3 and dog/4..7."""
    for number in range(8):
        write(tmp_path / "photos" / ("cat" if number < 4 else "dog") / f"{number}.jpg", number)
    return (tmp_path / "photos").resolve()


@pytest.fixture
def index(photos: Path, artifact: Artifact, model: OnnxModel, tmp_path: Path) -> Iterator[FolderIndex]:
    """An index of all `photos`."""
    store = FolderIndex.create(tmp_path / "index", artifact)
    build(store, model, find_images(photos))
    yield store
    store.close()


def run(index: FolderIndex, model: OnnxModel, photos: Path, prune: bool = False, dry_run: bool = False) -> SyncReport:
    return sync(index, model, read_folder(photos), prune=prune, dry_run=dry_run)


def labels(index: FolderIndex, photos: Path) -> dict[str, str | None]:
    entries = index.catalog.iter_entries()
    return {e.source.relative_to(photos).as_posix(): e.label for e in entries if e.source is not None}


def test_every_change_is_named_and_counted(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    (photos / "cat" / "0.jpg").rename(photos / "dog" / "was_cat.jpg")
    (photos / "cat" / "1.jpg").rename(photos / "cat" / "renamed.jpg")
    (photos / "cat" / "2.jpg").unlink()
    write(photos / "dog" / "7.jpg", 70)
    write(photos / "fox" / "8.jpg", 8)
    before = labels(index, photos)
    planned = run(index, model, photos, dry_run=True)
    assert [str(change) for change in planned.changes] == [
        "added: fox/8.jpg (fox)",
        "moved: cat/renamed.jpg (from cat/1.jpg)",
        "moved: dog/was_cat.jpg (from cat/0.jpg, cat -> dog)",
        "edited: dog/7.jpg",
        "gone: cat/2.jpg (image 3)",
    ]
    assert planned.unchanged == 4
    assert "dry run" in str(planned)
    assert labels(index, photos) == before
    assert run(index, model, photos).changes == planned.changes
    expected = {f"dog/{n}.jpg": "dog" for n in (4, 5, 6, 7)} | {"dog/was_cat.jpg": "dog", "fox/8.jpg": "fox"}
    expected |= {"cat/renamed.jpg": "cat", "cat/3.jpg": "cat"}
    assert labels(index, photos) == expected | {"cat/2.jpg": "cat"}
    assert index.labels() == {"cat": 3, "dog": 5, "fox": 1}
    pruned = run(index, model, photos, prune=True)
    assert [str(change) for change in pruned.changes] == ["gone: cat/2.jpg (image 3)"]
    assert labels(index, photos) == expected
    index.restore(3)
    assert "cat/2.jpg" in labels(index, photos)


def test_unchanged_files_are_not_opened(
    index: FolderIndex, model: OnnxModel, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str, *limits: object) -> bytes:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(reading, "read_image_file", fail)
    assert run(index, model, photos).unchanged == 8
    os.utime(photos / "cat" / "1.jpg")
    with pytest.raises(AssertionError, match=r"1\.jpg was opened"):
        run(index, model, photos)


def test_touched_files_are_the_same_images(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    os.utime(photos / "cat" / "1.jpg")
    report = run(index, model, photos)
    assert (report.unchanged, report.changes) == (8, ())


def test_a_file_that_changes_right_after_it_was_indexed_is_read_again(
    artifact: Artifact, model: OnnxModel, tmp_path: Path
) -> None:
    """Its size may be the same and, within the resolution of a disk's times, so may its time."""
    photos = (tmp_path / "photos").resolve()
    contents = [b"P6 40 40 255\n" + bytes([value]) * 4800 for value in (10, 200)]
    for name, age in (("new", 0.0), ("old", 60.0)):
        file = photos / "cat" / f"{name}.ppm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[0] + name.encode())
        os.utime(file, ns=(time.time_ns() - round(age * 1e9),) * 2)
    with closing(FolderIndex.create(tmp_path / "index", artifact)) as index:
        build(index, model, find_images(photos))
        for name in ("new", "old"):
            file = photos / "cat" / f"{name}.ppm"
            before = file.stat()
            file.write_bytes(contents[1] + name.encode())
            os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
        assert [str(change) for change in run(index, model, photos).changes] == ["edited: cat/new.ppm"]


def test_swapped_files_are_moved(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    first, second = photos / "cat" / "1.jpg", photos / "dog" / "4.jpg"
    first.rename(photos / "x.jpg")
    second.rename(first)
    (photos / "x.jpg").rename(second)
    os.utime(first)
    os.utime(second)
    report = run(index, model, photos)
    assert [str(change) for change in report.changes] == [
        "moved: cat/1.jpg (from dog/4.jpg, dog -> cat)",
        "moved: dog/4.jpg (from cat/1.jpg, cat -> dog)",
    ]
    assert (index.entry(2).source, index.entry(2).label) == (second, "dog")


def test_a_new_image_where_a_moved_one_was(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    (photos / "cat" / "1.jpg").rename(photos / "dog" / "1.jpg")
    write(photos / "cat" / "1.jpg", 50)
    assert [str(change) for change in run(index, model, photos).changes] == [
        "added: cat/1.jpg (cat)",
        "moved: dog/1.jpg (from cat/1.jpg, cat -> dog)",
    ]


def test_a_renamed_class_and_a_label_that_was_set_by_hand(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    index.update(1, "my cat")
    assert run(index, model, photos).changes == ()
    assert index.entry(1).label == "my cat"
    (photos / "cat").rename(photos / "feline")
    assert run(index, model, photos).counts["moved"] == 4
    assert index.labels() == {"dog": 4, "feline": 4}


def test_another_label_for_the_same_file(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    (photos / "synset_words.txt").write_text("cat domestic cat\n")
    report = run(index, model, photos)
    assert report.counts["relabeled"] == 4
    assert str(report.changes[0]) == "relabeled: cat/0.jpg (cat -> domestic cat)"
    assert index.labels() == {"domestic cat": 4, "dog": 4}
    assert run(index, model, photos).unchanged == 8


def test_a_label_set_by_hand_after_the_folder_s_has_changed_is_kept(
    index: FolderIndex, model: OnnxModel, photos: Path
) -> None:
    (photos / "synset_words.txt").write_text("cat domestic cat\n")
    run(index, model, photos)
    index.update(1, "my cat")
    assert run(index, model, photos).changes == ()
    assert index.entry(1).label == "my cat"


def test_a_table_without_labels_changes_none(
    index: FolderIndex, model: OnnxModel, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"path\n{photos}/cat/1.jpg\n{photos}/moved.jpg\n")
    os.utime(photos / "cat" / "1.jpg", (1, 1))  # so it is read again
    (photos / "dog" / "4.jpg").rename(photos / "moved.jpg")
    before = index.labels()
    report = sync(index, model, read_table(table))
    assert (report.counts["moved"], report.counts["relabeled"], report.unchanged) == (1, 0, 1)
    (photos / "moved.jpg").rename(photos / "dog" / "4.jpg")
    assert sync(index, model, read_folder(photos)).counts["relabeled"] == 0
    assert index.labels() == before


def test_copies_are_counted_and_take_the_place_of_the_original(
    index: FolderIndex, model: OnnxModel, photos: Path
) -> None:
    shutil.copy2(photos / "cat" / "1.jpg", photos / "cat" / "copy.jpg")
    report = run(index, model, photos)
    assert (report.unchanged, report.copies, report.changes) == (8, 1, ())
    (photos / "cat" / "1.jpg").unlink()
    assert [str(c) for c in run(index, model, photos, prune=True).changes] == ["moved: cat/copy.jpg (from cat/1.jpg)"]


def test_what_comes_back_is_restored(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    (photos / "cat" / "1.jpg").rename(photos.parent / "1.jpg")
    assert run(index, model, photos, prune=True).counts["gone"] == 1
    (photos.parent / "1.jpg").rename(photos / "cat" / "1.jpg")
    assert [str(change) for change in run(index, model, photos).changes] == ["restored: cat/1.jpg (cat)"]
    assert len(index) == 8


def test_a_folder_that_is_not_mounted_removes_nothing(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    for path in (photos / "cat").iterdir():
        path.unlink()
    report = run(index, model, photos, prune=True)
    assert report.counts["not checked"] == 4
    assert "its folder is empty: is its disk mounted?" in str(report.changes[0])
    (photos / "cat").rmdir()
    (photos / "cat").symlink_to("/mnt/not-mounted")
    assert run(index, model, photos, prune=True).counts["not checked"] == 4
    (photos / "dog").rename(photos.parent / "dog")
    with pytest.raises(DatasetError, match="nothing was changed: is its disk mounted"):
        run(index, model, photos, prune=True)
    with pytest.raises(DatasetError, match="no folder at"):
        run(index, model, photos / "dog", prune=True)
    assert len(index) == 8
    (photos / "cat").unlink()
    write(photos / "fox" / "9.jpg", 9)
    assert run(index, model, photos, prune=True).counts["gone"] == 8


def test_a_table_whose_files_were_at_the_top_of_the_disk(
    index: FolderIndex, model: OnnxModel, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"path,label\n/no such folder/0.jpg,cat\n{photos}/cat/1.jpg,cat\n")
    index.move([(1, "/no such folder/0.jpg", None)])
    report = sync(index, model, read_table(table), prune=True)
    assert [str(change) for change in report.changes] == ["gone: /no such folder/0.jpg (image 1)"]
    assert len(index) == 7


def test_what_cannot_be_listed_is_said_and_kept(
    index: FolderIndex, model: OnnxModel, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subfolder without read permission, for an index of a folder and of a table."""
    table = tmp_path / "table.csv"
    table.write_text(f"path,label\n{photos}/cat/1.jpg,cat\n{photos}/dog/4.jpg,dog\n")
    (photos / "cat" / "1.jpg").unlink()

    def refuse(function: Callable[[str], Any]) -> Callable[[str], Any]:
        def refused(path: str) -> Any:
            if path == str(photos / "cat"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return function(path)

        return refused

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    listing = read_folder(photos)
    assert listing.summary().skipped == {"unreadable folders": 1}
    report = sync(index, model, listing, prune=True)
    assert {str(change) for change in report.changes} == {
        f"not checked: cat/{number}.jpg (unreadable folders)" for number in range(4)
    }
    report = sync(index, model, read_table(table), prune=True)
    assert [str(change) for change in report.changes] == [
        "not checked: photos/cat/1.jpg (its folder can't be read: Permission denied)"
    ]
    assert len(index) == 8


def test_a_damaged_file_keeps_its_image(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    path = photos / "cat" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    (photos / "cat" / "notes.txt").write_text("x")
    report = run(index, model, photos, prune=True)
    assert {(c.kind, c.path) for c in report.changes} == {("unreadable", "cat/1.jpg"), ("unreadable", "cat/notes.txt")}
    assert len(index) == 8


def test_images_from_elsewhere_are_left_alone(
    index: FolderIndex, model: OnnxModel, photos: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other" / "fox" / "9.jpg", 9).parents[1]
    build(index, model, find_images(other))
    shutil.copy2(other / "fox" / "9.jpg", photos / "cat" / "9.jpg")
    report = run(index, model, photos, prune=True)
    assert (report.unchanged, report.copies, report.changes) == (8, 1, ())
    shutil.rmtree(other)
    assert [str(change) for change in run(index, model, photos).changes] == [
        f"moved: cat/9.jpg (from {other}/fox/9.jpg, fox -> cat)"
    ]


def test_a_folder_whose_name_only_begins_alike_is_elsewhere(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    other = write(photos.with_name("photos of last year") / "fox" / "8.jpg", 8)
    build(index, model, find_images(other.parents[1]))
    shutil.copy2(other, photos / "cat")
    report = run(index, model, photos)
    assert (report.changes, report.copies) == ((), 1)
    assert index.entry(9).source == other


def test_an_image_that_comes_from_elsewhere_keeps_the_label_that_was_set_by_hand(
    index: FolderIndex, model: OnnxModel, photos: Path, tmp_path: Path
) -> None:
    index.update(1, "my cat")
    index.remove(2)
    (tmp_path / "new" / "cat").mkdir(parents=True)
    for number in range(3):
        (photos / "cat" / f"{number}.jpg").rename(tmp_path / "new" / "cat" / f"{number}.jpg")
    report = run(index, model, tmp_path / "new")
    assert [str(change) for change in report.changes] == [
        "restored: cat/1.jpg (cat)",
        f"moved: cat/0.jpg (from {photos}/cat/0.jpg)",
        f"moved: cat/2.jpg (from {photos}/cat/2.jpg)",
    ]
    assert index.labels() == {"cat": 3, "dog": 4, "my cat": 1}


def test_a_folder_whose_name_is_not_utf8(index: FolderIndex, model: OnnxModel, photos: Path) -> None:
    foreign = photos.with_name(os.fsdecode(b"caf\xe9"))
    shutil.copytree(photos, foreign)
    report = run(index, model, foreign)
    assert (report.copies, report.changes) == (0, ())
    assert run(index, model, photos).unchanged == 8


@pytest.mark.slow
@pytest.mark.exclusive
def test_a_hundred_thousand_unchanged_files_take_less_than_20_seconds(
    artifact: Artifact, model: OnnxModel, tmp_path: Path
) -> None:
    from index.entries import FileState, NewEntry

    root, count = tmp_path / "photos", 100_000
    entries, states = [], {}
    for number in range(count):
        path = root / f"class {number % 100}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        label = path.parent.name
        entries.append(NewEntry(f"{number:064d}", label, path, "JPEG", 1, 1, b"jpeg"))
        states[str(path)] = FileState(1, path.stat().st_mtime_ns, f"{number:064d}", label)
    index = FolderIndex.create(tmp_path / "index", artifact)
    index.add(np.zeros((count, 64), np.float32), entries)
    index.file_records.set_file_states(states)
    started = time.perf_counter()
    report = run(index, model, root)
    assert time.perf_counter() - started < 20
    assert (report.unchanged, report.changes) == (count, ())
    index.close()
