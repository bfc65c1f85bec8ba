"""Backends: open an index by its URI, a folder or a collection on Milvus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from index.metadata import RowDType
from index.milvus.collection import SCHEME, MilvusAddress
from index.milvus.store import MilvusIndex
from index.protocol import Index
from index.store import ImageIndex, is_index
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError, ReadOnlyIndexError
from model.images.crops import CENTER_CROP


@dataclass(frozen=True)
class IndexUri:
    """Location of an index: a folder, `milvus://HOST:PORT/COLLECTION`, or `milvus:FILE.db` (Milvus in a file)."""

    location: Path | MilvusAddress

    @classmethod
    def parse(cls, text: str) -> IndexUri:
        """Raises InvalidRequestError for an incomplete Milvus address; everything without its scheme is a folder."""
        return cls(MilvusAddress.parse(text) if text.startswith(SCHEME) else Path(text))

    @property
    def folder(self) -> Path | None:
        return self.location if isinstance(self.location, Path) else None

    def __str__(self) -> str:
        return str(self.location)


def require_folder(uri: IndexUri) -> Path:
    """The folder of an index that must be in one. Raises InvalidRequestError."""
    if uri.folder is None:
        raise InvalidRequestError(f"{uri} is not a folder: let several machines add to one Milvus collection")
    return uri.folder


def open_writable(uri: IndexUri, artifact: Artifact, dtype: RowDType = "float32") -> Index:
    """Open an index for the features of `artifact` for writing; create it where there is none.

    `dtype`: of a new index in a folder. Raises IndexStoreError.
    """
    if isinstance(uri.location, MilvusAddress):
        return MilvusIndex.create(uri.location, artifact, CENTER_CROP)
    return ImageIndex.create(uri.location, artifact, dtype=dtype)


def open_readonly(uri: IndexUri) -> Index:
    """Open an existing index. Raises IndexNotFoundError or IndexStoreError."""
    if isinstance(uri.location, MilvusAddress):
        return MilvusIndex(uri.location, writable=False)
    return ImageIndex.open(uri.location)


def open_existing(uri: IndexUri) -> Index:
    """Open an existing index for writing. Raises IndexNotFoundError, IndexStoreError or ReadOnlyIndexError."""
    if isinstance(uri.location, MilvusAddress):
        return MilvusIndex(uri.location, writable=True)
    return ImageIndex.open(uri.location, writable=True)


def open_for_serving(uri: IndexUri, artifact: Artifact, read_only: bool) -> tuple[Index, str]:
    """Open an existing index for a server: for writing unless `read_only`, or another process is changing it.

    Returns the index and, if it was to be writable and isn't, the reason. Raises IndexNotFoundError or IndexStoreError.
    """
    reason = ""
    if not read_only and (uri.folder is None or is_index(uri.folder)):
        try:
            return open_writable(uri, artifact), reason
        except (ReadOnlyIndexError, PermissionError) as error:
            reason = str(error)
    index = open_readonly(uri)
    try:
        index.check_compatible(artifact)
    except BaseException:
        index.close()
        raise
    return index, reason
