"""The installed index backends, and what the tests that all of them pass need."""

from __future__ import annotations

import hashlib
import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from index.entries import NewEntry
from index.protocol import Index
from index.search import Position, Query
from model.artifacts.artifact import NETWORK, Artifact, FileRecord, Manifest
from tests.helpers.indexes import DIM, features_at
from tests.helpers.postgres import find_programs

ZERO = features_at(0)[0]


def installed_backends() -> list[str]:
    """`folder`; also `milvus` in the environment of `make test-milvus`, and `postgres` in the others."""
    backends = ["folder"]
    if find_programs() is not None:
        backends.append("postgres")
    if all(importlib.util.find_spec(name) is not None for name in ("pymilvus", "milvus_lite")):
        backends.append("milvus")
    return backends


def make_artifact(network: str = "a" * 64) -> Artifact:
    """An artifact with only the parts that an index reads."""
    manifest = Manifest(
        name="net", version=1, created=datetime.now(UTC), feature_dim=DIM, num_classes=2, parameters=1, license="",
        training={}, export_difference=0.0, files={NETWORK: FileRecord(bytes=1, sha256=network)},
    )  # fmt: skip
    return Artifact(Path(), manifest, ())


def entry(number: int, label: str | None = None, key: str | None = None) -> NewEntry:
    """An entry with the SHA-256 of `number`: a real one, since Milvus makes ids from its first bits."""
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return NewEntry(sha256, label, Path("/a.png"), "PNG", 3, 2, b"jpeg", key)


def search_ids(
    index: Index,
    k: int = 10,
    label: str | None = None,
    after: Position | None = None,
    max_distance: float | None = None,
) -> list[int]:
    """Ids of the images nearest to zero."""
    return [neighbor.entry.id for neighbor in index.search(Query(ZERO, k, label, after, max_distance))]
