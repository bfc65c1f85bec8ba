"""Backends: open an index by its URI: a folder, a schema on PostgreSQL, or a collection on Milvus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from index.feature_space import FeatureSpace, RowDType
from index.folder.layout import create_empty_index, is_index
from index.folder.store import FolderIndex
from index.milvus.collection import SCHEME, MilvusAddress, create_collection
from index.milvus.store import MilvusIndex
from index.postgres.address import PostgresAddress, is_postgres
from index.protocol import Index
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError, ReadOnlyIndexError
from model.images.crops import CENTER_CROP
from model.requirements import install_extra

if TYPE_CHECKING:
    from index.postgres.store import PostgresIndex


@dataclass(frozen=True)
class IndexUri:
    """Location of an index: a folder, `postgresql://USER@HOST/DATABASE`, `milvus://HOST:PORT/COLLECTION`, or
    `milvus:FILE.db` (Milvus in a file)."""

    location: Path | PostgresAddress | MilvusAddress

    @classmethod
    def parse(cls, text: str) -> IndexUri:
        """Parse an address; text without a scheme is a folder. Raises InvalidRequestError for an incomplete address or
        an unknown scheme: that may be a typo, and as a folder name its password would be shown."""
        if is_postgres(text):
            return cls(PostgresAddress.parse(text))
        if text.startswith(SCHEME):
            return cls(MilvusAddress.parse(text))
        if scheme := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", text):
            raise InvalidRequestError(
                f"unknown kind of index {scheme[1][:80]!r}: give a folder, or an address that begins with "
                "postgresql:// or milvus://"
            )
        return cls(Path(text))

    @property
    def folder(self) -> Path | None:
        return self.location if isinstance(self.location, Path) else None

    def __str__(self) -> str:
        return str(self.location)


def open_or_create(uri: IndexUri, artifact: Artifact, dtype: RowDType = "float32") -> Index:
    """Open an index for writing features of `artifact`; create it if there is none.

    `dtype`: the dtype of a new index in a folder or on PostgreSQL. Raises IndexStoreError.
    """
    match uri.location:
        case MilvusAddress() as address:
            return MilvusIndex.create(address, artifact, CENTER_CROP)
        case PostgresAddress() as address:
            return _postgres_index().create(address, artifact, CENTER_CROP, dtype)
        case path:
            return FolderIndex.create(path, artifact, dtype=dtype)


def open_readonly(uri: IndexUri) -> Index:
    """Open an existing index. Raises IndexNotFoundError or IndexStoreError."""
    return _open(uri, writable=False)


def open_writable(uri: IndexUri) -> Index:
    """Open an existing index for writing. Raises IndexNotFoundError, IndexStoreError or ReadOnlyIndexError."""
    return _open(uri, writable=True)


def _open(uri: IndexUri, writable: bool) -> Index:
    match uri.location:
        case MilvusAddress() as address:
            return MilvusIndex(address, writable=writable)
        case PostgresAddress() as address:
            return _postgres_index().open(address, writable)
        case path:
            return FolderIndex.open(path, writable)


def _postgres_index() -> type[PostgresIndex]:
    """The class PostgresIndex, which needs optional packages. Raises IndexStoreError."""
    try:
        from index.postgres.store import PostgresIndex
    except ModuleNotFoundError as error:
        raise IndexStoreError(f"an index on PostgreSQL needs psycopg: {install_extra('postgres')}") from error
    return PostgresIndex


def create_like(uri: IndexUri, space: FeatureSpace) -> None:
    """Create an index for features in `space`, unless there is one. Raises IndexStoreError."""
    match uri.location:
        case MilvusAddress() as address:
            create_collection(address, space)
        case PostgresAddress() as address:
            _postgres_index().create_empty(address, space)
        case path:
            create_empty_index(path, space)


def open_for_serving(uri: IndexUri, artifact: Artifact, read_only: bool) -> tuple[Index, str]:
    """Open an index for a server: for writing, or for reading if `read_only` or if it can't be opened for writing.

    An index in a folder must exist; one in a database is created if it is missing and `read_only` is false. Returns
    the index and, if it should be writable but isn't, the reason. Raises IndexNotFoundError or IndexStoreError.
    """
    reason = ""
    if not read_only and (uri.folder is None or is_index(uri.folder)):
        try:
            return open_or_create(uri, artifact), reason
        except (ReadOnlyIndexError, PermissionError) as error:
            reason = str(error)
    index = open_readonly(uri)
    try:
        index.check_compatible(artifact)
    except BaseException:
        index.close()
        raise
    return index, reason
