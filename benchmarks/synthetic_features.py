"""Features for the benchmarks of searches: drawn ones, and mixtures of real ones."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.store import ImageIndex

Array = NDArray[np.float32]
DIM = 4096
CHUNK_ROWS = 4096
MIX_ROWS = 8192
"""Mixtures that are made at once."""
NUM_CLUSTERS = 500


def draw_features(count: int, seed: int) -> Array:
    """(count, 4096): 1 of 500 centers and noise, rectified."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(-1, 2, (NUM_CLUSTERS, DIM)).astype(np.float32)
    features = centers[generator.integers(NUM_CLUSTERS, size=count)]
    for start in range(0, count, CHUNK_ROWS):
        chunk = features[start : start + CHUNK_ROWS]
        chunk += generator.normal(0, 1, chunk.shape).astype(np.float32)
        np.maximum(chunk, 0, out=chunk)
    return features


def read_index(path: Path) -> tuple[Array, NDArray[np.int64]]:
    """Features and label numbers of the labeled images of an index."""
    with closing(ImageIndex.open(path)) as index:
        entries = [entry for entry in index.catalog.iter_entries() if entry.label]
        numbers: dict[str | None, int] = {}
        labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in entries])
        return np.stack([index.feature(entry.id) for entry in entries]), labels


def mix(features: Array, labels: NDArray[np.int64], count: int, seed: int) -> Array:
    """(count, dim): two images of a label in some proportion, and noise where either isn't zero."""
    draw = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    first = draw.integers(len(order), size=count)
    starts = np.searchsorted(labels[order], labels[order[first]], "left")
    ends = np.searchsorted(labels[order], labels[order[first]], "right")
    second = starts + (draw.random(count) * (ends - starts)).astype(np.int64)
    share = draw.random((count, 1), np.float32)
    rows = features[order[first]] * share + features[order[second]] * (1 - share)
    rows += 0.3 * rows * draw.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows)


def iter_chunks(features: Array, labels: NDArray[np.int64], rows: int) -> Iterator[Array]:
    """The real features, then mixtures, made in two threads."""
    yield from np.array_split(features, -(-len(features) // MIX_ROWS))
    rest = rows - len(features)
    counts = [min(MIX_ROWS, rest - start) for start in range(0, rest, MIX_ROWS)]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(counts), 4):
            numbers = range(start, min(start + 4, len(counts)))
            yield from pool.map(lambda number: mix(features, labels, counts[number], 1 + number), numbers)
