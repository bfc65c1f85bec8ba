"""Make features for the search benchmarks: synthetic ones, and mixtures of an index's real ones."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.folder.store import FolderIndex

Array = NDArray[np.float32]
DIM = 4096
CHUNK_ROWS = 8192
"""Features made at once."""
NUM_CLUSTERS = 500
NOISE = 0.3
"""Standard deviation of a mixture's noise, relative to the value."""


def draw_features(count: int, seed: int) -> Array:
    """(count, 4096): one of 500 centers plus noise, rectified as the network's features are."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(-1, 2, (NUM_CLUSTERS, DIM)).astype(np.float32)
    features = centers[generator.integers(NUM_CLUSTERS, size=count)]
    for start in range(0, count, CHUNK_ROWS):
        chunk = features[start : start + CHUNK_ROWS]
        chunk += generator.normal(0, 1, chunk.shape).astype(np.float32)
        np.maximum(chunk, 0, out=chunk)
    return features


def read_labeled_features(path: Path) -> tuple[Array, NDArray[np.int64]]:
    """Features (N, dim) and label numbers (N,) of the labeled images of an index."""
    with closing(FolderIndex.open(path)) as index:
        entries = [entry for entry in index.catalog.iter_entries() if entry.label]
        numbers: dict[str | None, int] = {}
        labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in entries])
        return np.stack([index.feature(entry.id) for entry in entries]), labels


def mix_features(features: Array, labels: NDArray[np.int64], count: int, seed: int) -> Array:
    """(count, dim): weighted means of the features of two images with the same label; noise on nonzero values."""
    generator = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    first = generator.integers(len(order), size=count)
    starts = np.searchsorted(labels[order], labels[order[first]], "left")
    ends = np.searchsorted(labels[order], labels[order[first]], "right")
    second = starts + (generator.random(count) * (ends - starts)).astype(np.int64)
    weight = generator.random((count, 1), np.float32)
    rows = features[order[first]] * weight + features[order[second]] * (1 - weight)
    rows += NOISE * rows * generator.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows)


def iter_mixed_features(features: Array, labels: NDArray[np.int64], rows: int) -> Iterator[Array]:
    """Yield chunks, `rows` features in all: first the real ones, then mixtures, made in two threads."""
    yield from np.array_split(features, -(-len(features) // CHUNK_ROWS))
    num_mixtures = rows - len(features)
    counts = [min(CHUNK_ROWS, num_mixtures - start) for start in range(0, num_mixtures, CHUNK_ROWS)]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(counts), 4):
            seeds = range(start, min(start + 4, len(counts)))
            yield from pool.map(lambda seed: mix_features(features, labels, counts[seed], 1 + seed), seeds)
