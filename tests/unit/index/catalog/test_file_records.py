"""The records of files: looked up by folder, path and checksum, and left out where they are damaged."""

from __future__ import annotations

from pathlib import Path

from index.entries import FileState
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from tests.helpers.indexes import execute, make_entry, make_index


def test_files_are_recorded_and_damaged_records_forgotten(artifact: Artifact, tmp_path: Path) -> None:
    path = make_index(tmp_path / "i", artifact, *[make_entry(n) for n in range(5)])
    index = FolderIndex.open(path, writable=True)
    states = {f"/{n}.png": FileState(n, 10 + n, f"{n:064d}", "a") for n in range(3)}
    index.file_records.set_file_states(states)
    assert index.file_records.file_states_below("/") == states
    assert index.file_records.file_states_of(["/1.png", "/9.png"]) == {"/1.png": states["/1.png"]}
    index.file_records.delete_file_states(["/2.png"])
    index.close()
    execute(path, "UPDATE files SET size = 9 WHERE path = '/1.png'")
    index = FolderIndex.open(path)
    assert index.file_records.file_states_below("/") == {"/0.png": states["/0.png"]}
    assert [source.source for source in index.file_records.sources_below("/")] == [f"/{n:04d}.png" for n in range(5)]
    assert index.file_records.sources_below("/0001.pn") == []
    (first,) = index.file_records.sources_of([f"{1:064d}", f"{99:064d}"])
    assert first.source == "/0001.png"
    index.close()
