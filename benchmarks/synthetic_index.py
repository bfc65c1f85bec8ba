"""Create indexes of given features, without images, for the search benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.synthetic_features import CHUNK_ROWS, Array
from index.entries import NewEntry
from index.folder.store import FolderIndex
from model.artifacts.packed import unpack_bundled
from model.encoder import Encoder

THUMBNAIL_BYTES = 4000
"""As large as a typical thumbnail, but not an image."""
NUM_LABELS = 100


def make_entries(first: int, count: int) -> list[NewEntry]:
    """`count` entries of a hundred labels, numbered from `first`."""
    return [
        NewEntry(f"{n:064d}", f"{n % NUM_LABELS}", None, "JPEG", 256, 256, bytes(THUMBNAIL_BYTES))
        for n in range(first, first + count)
    ]


def create_index(home: Path, chunks: Iterable[Array], encoder: Encoder | None = None) -> FolderIndex:
    """A new index of 4096-d features at home/index, open for writing. `encoder`: for binary codes."""
    index = FolderIndex.create(home / "index", unpack_bundled("elpv", home / "artifacts"))
    index.set_encoder(encoder)
    for chunk in chunks:
        index.add(chunk, make_entries(len(index), len(chunk)))
    return index


def split_into_chunks(features: Array) -> Iterable[Array]:
    """Views of consecutive rows, to be added one after the other."""
    return (features[start : start + CHUNK_ROWS] for start in range(0, len(features), CHUNK_ROWS))
