"""Index: similarity search in a Python program."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, overload

import numpy as np

from alexnet.classifier import Classifier
from alexnet.image_kinds import ImageLike, LoadedImage, decode_batches, each_image, is_single
from index import protocol
from index.backends import IndexUri, open_or_create, open_readonly
from index.entries import MAX_TEXT_LENGTH, AddResult, NewEntry, is_storable
from index.feature_space import no_index_error
from index.folder.layout import missing_index_error
from index.protocol import find_ids, require_codes
from index.search import MAX_PAGE_SIZE, SEARCHERS, Query, SearchMode, parse_search_mode
from index.search import Neighbor as IndexNeighbor
from model.datasets.names import compose, show_path, show_text
from model.encoder import Encoder
from model.exceptions import IndexNotFoundError, IndexStoreError, InvalidRequestError
from model.plurals import count_of


@dataclass(frozen=True)
class Neighbor:
    """An indexed image that a search found. `distance`: Euclidean, between the features; 0 for the same image.

    `path`: of its file when it was added; None if it had no file. `key`: your own name for it, if you gave one.
    """

    id: int
    distance: float
    label: str | None
    path: Path | None
    key: str | None = None

    def __str__(self) -> str:
        name = show_path(self.path or self.key or f"image {self.id}")
        return f"{self.distance:9.3f}  {show_text(self.label or '-')}  {name}"


class Index:
    """Images that can be searched by similarity.

        with Index("photos-index", classifier) as index:
            index.add(["a.jpg", "b.jpg"], labels=["cat", "dog"])
            for neighbor in index.search("c.jpg", k=3):
                print(neighbor.distance, neighbor.label, neighbor.path)

    Images are given in any form that `Classifier` accepts. Close an index, or use it in a `with`: after the first
    `add`, no other program can change an index folder until it is closed. Only one thread at a time may use an index.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, classifier: Classifier | None = None) -> None:
        """Open an index if it exists; if not, the first `add` creates it.

        `path`: the folder of the index, `postgresql://USER@HOST/DATABASE`, or `milvus://HOST:PORT/NAME`. None takes the
        default folder of the classifier's network, below `indexes`. `classifier`: the network that computes the
        features; None: `Classifier()`.

        Raises ArtifactError, and IndexStoreError if an existing index has another network's features.
        """
        self.classifier = classifier or Classifier()
        default = self.classifier.artifact.default_index_path(self.classifier.home / "indexes")
        self.uri = IndexUri(default) if path is None else IndexUri.parse(os.fspath(path))
        self._index: protocol.Index | None = None
        self._closed = False
        self._open_for_reading()

    def __len__(self) -> int:
        """Number of images."""
        self._require_open()
        return 0 if self._index is None else len(self._index)

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is a path
        self, images: ImageLike, k: int = 6, *, label: str | None = None, mode: SearchMode = "exact"
    ) -> list[Neighbor]: ...
    @overload
    def search(
        self, images: Iterable[ImageLike], k: int = 6, *, label: str | None = None, mode: SearchMode = "exact"
    ) -> list[list[Neighbor]]: ...
    def search(
        self,
        images: ImageLike | Iterable[ImageLike],
        k: int = 6,
        *,
        label: str | None = None,
        mode: SearchMode = "exact",
    ) -> list[Neighbor] | list[list[Neighbor]]:
        """The `k` indexed images nearest to each image, nearest first. One image gives one list.

        `label`: only images with this label. `mode`: see `index.search.SEARCHERS`; some modes need codes, which
        `alexnet codes train` makes. Raises IndexNotFoundError if there is no index yet, InvalidRequestError, and
        InvalidImageError for an image that can't be decoded.
        """
        index = self._require_index()
        if not isinstance(k, int | np.integer) or not 1 <= k <= MAX_PAGE_SIZE:
            raise InvalidRequestError(f"k must be an integer from 1 to {MAX_PAGE_SIZE:,}, not {k!r}")
        if label is not None and not isinstance(label, str):
            raise InvalidRequestError(f"label must be a string or None, not {label!r}")
        label = compose(label)
        if SEARCHERS[parse_search_mode(mode)].needs_codes:
            require_codes(index).set_encoder(Encoder.of(self.classifier.artifact))
        results: list[list[Neighbor]] = []
        for batch in self._decode(images):
            features = self.classifier.features_of_loaded(batch, index.crops)
            queries = [Query(feature, int(k), label, mode=mode) for feature in features]
            results += [[_convert(neighbor) for neighbor in result] for result in index.search_many(queries)]
        return results[0] if is_single(images) else results

    @overload
    def add(self, images: ImageLike, labels: str | None = None, keys: str | None = None) -> AddResult: ...  # type: ignore[overload-overlap]
    @overload
    def add(
        self,
        images: Iterable[ImageLike],
        labels: str | Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
    ) -> list[AddResult]: ...
    def add(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: str | Sequence[str | None] | None = None,
        keys: str | Sequence[str | None] | None = None,
    ) -> AddResult | list[AddResult]:
        """Add images, creating the index if there is none. They are on disk when the method returns.

        `labels`: one for all, or one per image: None, or text of 1 to 200 characters, none of them a control character.
        `keys`: one per image, in the same form: unique names of your own that find and change images as their ids do.
        An image whose file (or pixels, if it has no file) is already indexed gets the status `exists`, and keeps its
        label and key. Raises ReadOnlyIndexError while another program has the index open for changes (searching still
        works); IndexStoreError; InvalidRequestError, also for a key that another image has; and InvalidImageError for
        an image that can't be decoded, after adding the batches of 16 before its own.
        """
        items = list(each_image(images))
        texts = list(zip(_labels_per_image(labels, len(items)), _keys_per_image(keys, len(items)), strict=True))
        index, results = self._require_writable(), list[AddResult]()
        for batch in self._decode(items):
            results += self._add_batch(index, batch, texts[len(results) :])
        return results[0] if is_single(images) else results

    def close(self) -> None:
        """Close the index and let other programs change it. This object can't search or add any more."""
        self._release()
        self._closed = True

    def __repr__(self) -> str:
        return f"<Index {self.uri}: {'closed' if self._closed else count_of(len(self), 'image')}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _add_batch(
        self, index: protocol.Index, batch: Sequence[LoadedImage], texts: Sequence[tuple[str | None, str | None]]
    ) -> list[AddResult]:
        """Add decoded images with their labels and keys. Features are computed only for images not yet in the index."""
        present = find_ids(index, [item.sha256 for item in batch])
        new = [(item, *texts[number]) for number, item in enumerate(batch) if item.sha256 not in present]
        added: list[AddResult] = []
        if new:
            features = self.classifier.features_of_loaded([item for item, *_ in new], index.crops)
            added = index.add(features, [_new_entry(*one) for one in new])
        remaining = iter(added)
        return [
            AddResult(present[item.sha256], "exists") if item.sha256 in present else next(remaining) for item in batch
        ]

    def _decode(self, images: ImageLike | Iterable[ImageLike]) -> Iterable[list[LoadedImage]]:
        return decode_batches(each_image(images), self.classifier.artifact.image_contract)

    def _release(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None

    def _require_open(self) -> None:
        if self._closed:
            raise IndexStoreError(f"this index is closed: open it again with Index({str(self.uri)!r})")

    def _require_index(self) -> protocol.Index:
        self._require_open()
        if self._index is None:
            if self.uri.folder is not None:
                raise missing_index_error(self.uri.folder)
            raise no_index_error(str(self.uri))
        return self._index

    def _open_for_reading(self) -> None:
        """Open the index if there is one. Raises IndexStoreError, also if it has another network's features."""
        try:
            self._index = open_readonly(self.uri)
            self._index.check_compatible(self.classifier.artifact)
        except IndexNotFoundError:
            pass
        except BaseException:
            self._release()
            raise

    def _require_writable(self) -> protocol.Index:
        """The index, opened for writing. If that fails, as when a server has locked it, it stays readable."""
        self._require_open()
        if self._index is None or not self._index.writable:
            self._release()  # first: pymilvus may share a connection between both, and would close it
            try:
                self._index = open_or_create(self.uri, self.classifier.artifact)
            except BaseException:
                self._open_for_reading()
                raise
        return self._index


def _labels_per_image(labels: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    """A label per image. Raises InvalidRequestError unless given one label, or one per image, that can be stored."""
    if labels is None or isinstance(labels, str) or not isinstance(labels, Iterable):
        each = [labels] * count
    else:
        each = list(labels)
    _check_texts("label", each, count, "one label, or one per image")
    return [compose(label) for label in each]


def _keys_per_image(keys: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    """A key per image. Raises InvalidRequestError unless given None, or one key per image that can be stored."""
    if keys is None:
        return [None] * count
    each: list[str | None] = [keys] if isinstance(keys, str) or not isinstance(keys, Iterable) else list(keys)
    _check_texts("key", each, count, "one key per image")
    return each


def _check_texts(kind: str, texts: Sequence[str | None], count: int, expected: str) -> None:
    """Raise InvalidRequestError unless there are `count` labels or keys that an index can store.

    `expected`: the expected number, in words.
    """
    if len(texts) != count:
        counts = f"{count_of(count, 'image')}, {count_of(len(texts), kind)}"
        raise InvalidRequestError(f"give {expected}: {counts}")
    for text in texts:
        if text is not None and not isinstance(text, str):
            shown = repr(text)[:80]
            raise InvalidRequestError(f"a {kind} must be a string or None, got {shown}: convert it with str()")
        if text is not None and not is_storable(text):
            raise InvalidRequestError(
                f"invalid {kind} {text[:80]!r}: it must have 1 to {MAX_TEXT_LENGTH} characters, no control "
                "characters, and no leading or trailing whitespace"
            )


def _new_entry(item: LoadedImage, label: str | None, key: str | None) -> NewEntry:
    """The entry for an image. Its folder is resolved, as by `alexnet index add`: `index.sync` would miss a `..`."""
    source = None if item.path is None else item.path.parent.resolve() / item.path.name
    return NewEntry.from_image(item.sha256, item.image, label, source, key)


def _convert(neighbor: IndexNeighbor) -> Neighbor:
    entry = neighbor.entry
    return Neighbor(entry.id, float(neighbor.distance), entry.label, entry.source, entry.key)
