"""Small indexes: entries without images, features at given distances, and the contents of an index's files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build import build, find_images
from index.catalog.schema import METADATA_CHECKSUM, metadata_checksum
from index.entries import NewEntry
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel

DIM = 64
"""Number of features of the tests' network."""


def make_entry(number: int, label: str | None = None, key: str | None = None) -> NewEntry:
    """An entry whose checksum is `number`."""
    return NewEntry(f"{number:064d}", label, Path(f"/{number:04d}.png"), "PNG", 1, 1, b"jpeg", key)


def features_at(*distances: float) -> NDArray[np.float32]:
    """(N, 64) features at these distances from zero."""
    features = np.zeros((len(distances), DIM), np.float32)
    features[:, 0] = distances
    return features


def random_feature(number: int) -> NDArray[np.float32]:
    """The (1, 64) feature of image `number`."""
    return np.random.default_rng(number).random((1, DIM), np.float32)


def make_index(path: Path, artifact: Artifact, *entries: NewEntry) -> Path:
    """Create an index of these entries. The same entry has the same feature in every index."""
    index = FolderIndex.create(path, artifact)
    numbers = [int(entry.sha256) for entry in entries]
    index.add(np.random.default_rng(0).random((64, DIM), np.float32)[numbers], entries)
    index.close()
    return path


def num_waiting(index: FolderIndex) -> int:
    """Number of additions that wait for the current write."""
    return len(index._additions._waiting)


def build_index(path: Path, artifact: Artifact, model: OnnxModel, images: Path) -> None:
    """Create an index of all images in a folder."""
    index = FolderIndex.create(path, artifact)
    build(index, model, find_images(images))
    index.close()


def read_files(path: Path) -> tuple[bytes, list[tuple[object, ...]]]:
    """The bytes of all features, and all rows of the catalog with labels, sources and thumbnails."""
    (features,) = path.glob("features-*")
    with sqlite3.connect(path / "catalog.sqlite") as database:
        rows = database.execute("SELECT * FROM images ORDER BY id").fetchall()
    database.close()
    return features.read_bytes(), rows


def execute(path: Path, statement: str, *parameters: object) -> None:
    """Change the catalog of a closed index, as another program would."""
    with closing(sqlite3.connect(path / CATALOG)) as database, database:
        database.execute(statement, parameters)


def set_metadata(path: Path, **changes: str) -> None:
    """Change metadata of a closed index, and their checksum accordingly."""
    with closing(sqlite3.connect(path / CATALOG)) as database, database:
        metadata = dict(database.execute("SELECT key, value FROM metadata")) | changes
        metadata[METADATA_CHECKSUM] = metadata_checksum(metadata)
        database.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?)", metadata.items())
