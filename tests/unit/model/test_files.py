"""Files are written whole or not at all, and one process at a time holds a lock."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.files import atomic_write, exclusive_lock, move_durably, sha256_of


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("néw")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "néw"
    with atomic_write(path, "wb") as file:
        file.write(b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    (tmp_path / "file.txt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "file.txt.partial").write_text("longer than what is written now")
    with atomic_write(tmp_path / "file.txt") as file:
        file.write("new")
    assert (tmp_path / "file.txt").read_text() == "new"


def test_each_of_several_writers_writes_the_whole_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "file.txt", ("a" * 30_000, "b" * 20_000, "c" * 10_000)

    def write(text: str) -> int:
        for _ in range(8):
            with atomic_write(path) as file:
                file.write(text[:5_000])
                file.flush()
                file.write(text[5_000:])
        return len(text)

    with ThreadPoolExecutor(len(texts)) as pool:
        writers = [pool.submit(write, text) for text in texts]
        while not all(writer.done() for writer in writers):
            assert not path.exists() or path.read_text() in texts
    assert [writer.result() for writer in writers] == [30_000, 20_000, 10_000]
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path):
        pytest.fail("the block ran")
    assert not tmp_path.with_name(f"{tmp_path.name}.partial").exists()


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="it is a device or a pipe"), atomic_write(pipe) as file:
        file.write("text")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_move_replaces_its_target(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    move_durably(tmp_path / "a", tmp_path / "b")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b", "new")]


def test_a_move_is_on_the_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents are synced before the name; otherwise a power cut could leave an empty file under the name."""
    (tmp_path / "a").write_text("new")
    inodes = [path.stat().st_ino for path in (tmp_path / "a", tmp_path)]
    calls = list[object]()
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    move_durably(tmp_path / "a", tmp_path / "b")
    assert calls == [inodes[0], "replace", inodes[1]]


def test_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"contents").hexdigest()


def test_a_second_holder_waits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with exclusive_lock(tmp_path / "lock", "testing"):
            order.append("second")

    with exclusive_lock(tmp_path / "lock", "testing"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "another process is testing: waiting for it" in capsys.readouterr().err
