"""An index by its address: a folder, `milvus://HOST:PORT/NAME` on a Milvus cluster, or `milvus:FILE.db`, Milvus in a
file."""

from __future__ import annotations

from pathlib import Path

from index.metadata import Kind
from index.protocol import Index
from index.store import CATALOG, ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import ReadOnlyIndexError
from model.images.crops import CENTER_CROP

SCHEME = "milvus:"


def on_milvus(address: Path) -> bool:
    """Whether it isn't a folder."""
    return str(address).startswith(SCHEME)


def open_writable(address: Path, artifact: Artifact, kind: Kind = "float32") -> Index:
    """A new index for the features of `artifact`, or the one that is there. Raises IndexStoreError."""
    if on_milvus(address):
        from index.milvus.store import MilvusIndex

        return MilvusIndex.create(address, artifact, CENTER_CROP)
    return ImageIndex.create(address, artifact, kind=kind)


def open_readonly(address: Path) -> Index:
    """One that is there. Raises IndexStoreError."""
    if on_milvus(address):
        from index.milvus.store import MilvusIndex

        return MilvusIndex(address, writable=False)
    return ImageIndex.open(address)


def open_for_serving(address: Path, artifact: Artifact, read_only: bool) -> tuple[Index, str]:
    """For changing if that is wanted, possible, and nobody else does; else for reading, and why. IndexStoreError."""
    reason = ""
    if not read_only and (on_milvus(address) or (address / CATALOG).is_file()):
        try:
            return open_writable(address, artifact), reason
        except (ReadOnlyIndexError, PermissionError) as error:
            reason = str(error)
    index = open_readonly(address)
    try:
        index.require(artifact)
    except BaseException:
        index.close()
        raise
    return index, reason
