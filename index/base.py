"""BaseIndex: the behavior that all index backends share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.bulk_change import BulkChange, BulkResult, Selection
from index.entries import CatalogReader, unknown_image_error
from index.feature_space import FeatureSpace
from index.search import NearestIds, Neighbor, Query, attach_entries
from model.artifacts.artifact import Artifact
from model.exceptions import ReadOnlyIndexError
from model.images.contract import ImageContract


class BaseIndex(ABC):
    """An index of features in `space`; see `index.protocol.Index`.

    `restore` and `update` are for other programs: this one restores and relabels by `change_many`.
    """

    catalog: CatalogReader

    def __init__(self, uri: str, space: FeatureSpace, writable: bool) -> None:
        self.uri, self.space, self.writable = uri, space, writable
        self.dim, self.crops = space.dim, space.crops
        self.image_contract = ImageContract.parse(space.image_contract)

    @abstractmethod
    def search_ids(self, queries: Sequence[Query]) -> list[NearestIds]:
        """`search_many` without reading entries from the catalog."""

    @abstractmethod
    def features(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The stored (N, dim) features of images, in the order of `ids`. Raises UnknownImageError."""

    @abstractmethod
    def change_many(self, selection: Selection, change: BulkChange) -> BulkResult:
        """Remove, restore or relabel images. Raises ReadOnlyIndexError."""

    def search(self, query: Query) -> list[Neighbor]:
        """The nearest images, nearest first, ties by id. Raises InvalidRequestError."""
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Neighbor]]:
        """`search` for several queries, which may be faster than one call per query."""
        return attach_entries(queries, self.search_ids(queries), self.catalog)

    def feature(self, image_id: int) -> NDArray[np.float32]:
        """The stored (dim,) feature of an image. Raises UnknownImageError."""
        feature: NDArray[np.float32] = self.features([image_id])[0]
        return feature

    def remove(self, image_id: int) -> None:
        """Remove an image; `restore` undoes it until the index is compacted.

        Raises UnknownImageError if there is no such image, or it is already removed.
        """
        self._change(image_id, BulkChange(removed=True))

    def restore(self, image_id: int) -> None:
        """Undo a removal. Raises UnknownImageError if there is no such image."""
        self._change(image_id, BulkChange(removed=False))

    def update(self, image_id: int, label: str | None) -> None:
        """Change the label of an image. Raises UnknownImageError."""
        self._change(image_id, BulkChange(relabel=True, label=label))

    def check_compatible(self, artifact: Artifact) -> None:
        """Raise IndexStoreError unless this index has features of the network in `artifact`."""
        self.space.check_compatible(artifact, self.uri)

    def check_writable(self) -> None:
        """Raise ReadOnlyIndexError if this index is open for reading only."""
        if not self.writable:
            raise ReadOnlyIndexError("the index is open for reading only")

    def _change(self, image_id: int, change: BulkChange) -> None:
        if self.change_many(Selection([image_id]), change).unknown_ids:
            raise unknown_image_error(image_id)
