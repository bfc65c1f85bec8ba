"""Features for NumPy, without those that are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from index.export import export_features
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.datasets.attribution import Attribution
from tests.helpers.indexes import features_at, make_entry


def test_features_are_exported(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1, 2, 3), [make_entry(n, label) for n, label in enumerate(("a", None, "b"))])
    index.remove(3)
    index.close()
    with (tmp_path / "i" / "features-1.f32").open("r+b") as file:
        file.write(b"\xff")
    index = FolderIndex.open(tmp_path / "i")
    assert export_features(index, tmp_path / "all.npz") == 1
    index.close()
    with np.load(tmp_path / "all.npz") as arrays:
        assert set(arrays) == {"ids", "labels", "paths", "keys", "features"}
        assert (arrays["ids"].tolist(), arrays["labels"].tolist()) == ([2], [""])
        np.testing.assert_array_equal(arrays["features"], features_at(2))


def test_an_empty_index_is_exported(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    assert export_features(index, tmp_path / "all.npz") == 0
    index.close()
    with np.load(tmp_path / "all.npz") as arrays:
        assert {name: (array.shape, array.dtype.kind) for name, array in arrays.items()} == {
            "ids": ((0,), "i"),
            "labels": ((0,), "U"),
            "paths": ((0,), "U"),
            "keys": ((0,), "U"),
            "features": ((0, 64), "f"),
        }


def test_features_come_with_their_files_and_keys(artifact: Artifact, tmp_path: Path) -> None:
    """So each row's image is known without the index."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    entries = [replace(make_entry(0), source=Path("/p/é.jpg"), key=None), replace(make_entry(1), source=None, key="k")]
    index.add(features_at(1, 2), entries)
    export_features(index, tmp_path / "all.npz")
    index.close()
    with np.load(tmp_path / "all.npz") as arrays:
        assert (arrays["paths"].tolist(), arrays["keys"].tolist()) == (["/p/é.jpg", ""], ["", "k"])


def test_attributions_are_exported_where_there_are_any(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    known = replace(make_entry(0), attribution=Attribution("Ann", page="https://a.example/1", license="MIT"))
    index.add(features_at(1, 2), [known, make_entry(1)])
    export_features(index, tmp_path / "all.npz")
    index.close()
    with np.load(tmp_path / "all.npz") as arrays:
        columns = {name: arrays[name].tolist() for name in Attribution._fields}
    assert columns == {
        "author": ["Ann", ""],
        "author_page": ["", ""],
        "page": ["https://a.example/1", ""],
        "license": ["MIT", ""],
    }
