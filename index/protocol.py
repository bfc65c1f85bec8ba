"""Index: the interface of every backend, and the capabilities that only some have.

A caller that needs a capability checks for it when it handles the option that needs it, with `require_codes`,
`require_gpu`, `require_compaction` or `require_sync`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.bulk_change import BulkChange, BulkResult, Selection
from index.catalog.file_records import FileRecords
from index.entries import AddResult, CatalogReader, Entry, NewEntry, unknown_key_error
from index.feature_space import FeatureSpace
from index.search import NearestIds, Neighbor, Query
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import DeviceError, InvalidRequestError
from model.images.contract import ImageContract


class Index(Protocol):
    """Images with their features, labels and thumbnails; see `index.folder.store.FolderIndex`."""

    uri: str
    space: FeatureSpace
    dim: int
    crops: tuple[int, ...]
    image_contract: ImageContract
    writable: bool

    @property
    def catalog(self) -> CatalogReader: ...
    def __len__(self) -> int: ...
    def labels(self) -> dict[str, int]: ...
    def count(self, label: str | None = None) -> int: ...
    def check_compatible(self, artifact: Artifact) -> None: ...
    def check_writable(self) -> None: ...
    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]: ...
    def remove(self, image_id: int) -> None: ...
    def restore(self, image_id: int) -> None: ...
    def update(self, image_id: int, label: str | None) -> None: ...
    def change_many(self, selection: Selection, change: BulkChange) -> BulkResult: ...
    def search(self, query: Query) -> list[Neighbor]: ...
    def search_many(self, queries: Sequence[Query]) -> list[list[Neighbor]]: ...
    def search_ids(self, queries: Sequence[Query]) -> list[NearestIds]: ...
    def feature(self, image_id: int) -> NDArray[np.float32]: ...
    def features(self, ids: Sequence[int]) -> NDArray[np.float32]: ...
    def entry(self, image_id: int) -> Entry: ...
    def close(self) -> None: ...


@runtime_checkable
class SupportsCodes(Protocol):
    """Keeps binary codes, for the search modes that need them."""

    @property
    def encoder(self) -> Encoder | None: ...
    def set_encoder(self, encoder: Encoder | None) -> None: ...


@runtime_checkable
class SupportsGpu(Protocol):
    """Can search on a GPU."""

    def search_on_gpu(self) -> None: ...


@runtime_checkable
class SupportsCompaction(Protocol):
    """Checks its rows for damage, and frees the space of removed and damaged images."""

    @property
    def damaged(self) -> Mapping[int, str]: ...
    @property
    def num_unverified(self) -> int: ...
    def wait_until_verified(self) -> Mapping[int, str]: ...
    def verify(self) -> Mapping[int, str]: ...
    def compact(self) -> int: ...


@runtime_checkable
class SupportsSync(Protocol):
    """Can follow a folder: remembers the files of its images."""

    @property
    def file_records(self) -> FileRecords: ...
    def move(self, moves: Sequence[tuple[int, str, str | None]]) -> None: ...


@runtime_checkable
class SupportsReplacement(Protocol):
    """Lives in files that somebody may replace while it is open."""

    def is_replaced(self) -> bool: ...
    def stop_writing(self) -> None: ...


def require_codes(index: Index) -> SupportsCodes:
    """The index, if it can keep binary codes. Raises InvalidRequestError."""
    if not isinstance(index, SupportsCodes):
        raise InvalidRequestError(f"{index.uri} has no binary codes: use the search mode exact")
    return index


def require_gpu(index: Index) -> SupportsGpu:
    """The index, if it can search on a GPU. Raises DeviceError."""
    if not isinstance(index, SupportsGpu):
        raise DeviceError(f"{index.uri} can't be searched on a GPU here: leave out --search-device")
    return index


def require_compaction(index: Index) -> SupportsCompaction:
    """The index, if it checks and compacts its own files. Raises InvalidRequestError."""
    if not isinstance(index, SupportsCompaction):
        raise InvalidRequestError("this index can't be verified or compacted here: its database does that itself")
    return index


def require_sync(index: Index) -> SupportsSync:
    """The index, if it can follow a folder. Raises InvalidRequestError."""
    if not isinstance(index, SupportsSync):
        raise InvalidRequestError(
            "this index can't be synced, as only one in a folder can: `alexnet index add` adds new images, and "
            "`alexnet index remove` removes others"
        )
    return index


def find_ids(index: Index, sha256s: Sequence[str]) -> dict[str, int]:
    """Ids of the indexed images with these checksums, by checksum; removed ones are left out."""
    return {sha256: image.id for sha256, image in index.catalog.find(sha256s).items() if not image.removed}


def ids_of_keys(index: Index, keys: Sequence[str]) -> list[int]:
    """The ids of the images with these keys, in order. Raises UnknownImageError, also if one is removed."""
    images = index.catalog.find_keys(keys)
    for key in keys:
        if key not in images or images[key].removed:
            raise unknown_key_error(key)
    return [images[key].id for key in keys]


def page_of_intact(index: Index, after: int, limit: int, label: str | None = None) -> list[Entry]:
    """A page of the catalog (`CatalogReader.page`) without the entries whose features are known to be damaged."""
    damaged = index.damaged if isinstance(index, SupportsCompaction) else {}
    entries: list[Entry] = []
    while len(entries) < limit and (page := index.catalog.page(after, limit - len(entries), label)):
        after = page[-1].id
        entries += [entry for entry in page if entry.id not in damaged]
    return entries


def intact_entries(index: Index) -> list[Entry]:
    """All entries by id, without those whose features are damaged."""
    damaged = index.wait_until_verified() if isinstance(index, SupportsCompaction) else {}
    return [entry for entry in index.catalog.iter_entries() if entry.id not in damaged]
