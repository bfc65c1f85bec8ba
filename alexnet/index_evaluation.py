"""Evaluation of an index with labeled queries, and training of binary codes on its features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.evaluation import Evaluation, LabeledQuery, evaluate
from index.search import Search
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import IndexStoreError

MAX_TRAINING_FEATURES = 50_000
"""Features that a code is trained on: 0.8 GB."""


def evaluate_index(
    index: ImageIndex, artifact: Artifact, data: Path | None, max_images: int, device: str
) -> Evaluation:
    """Search an index with the images below a folder, or with its own, and measure the results by label.

    At most `max_images` queries, chosen at random with a fixed seed. Raises IndexStoreError without labeled images.
    """
    index.require(artifact)
    encoder = Encoder.of(artifact)
    searches: list[Search] = []
    if encoder is not None:
        index.use(encoder)
        searches = ["binary", "addresses"] if encoder.bits <= 32 else ["binary"]
    queries = (
        _indexed_queries(index, max_images)
        if data is None
        else _file_queries(index, data, max_images, artifact.network, device)
    )
    if not queries:
        raise IndexStoreError("no labeled images to search with: label images of the index, or give some with --data")
    return evaluate(index, queries, searches)


def train_codes(
    path: Path,
    index: ImageIndex,
    coder: str,
    bits: int,
    steps: int,
    supervised: float,
    seed: int,
    log: Callable[[str], None],
) -> Artifact:
    """Train a binary code on the features of an index and add its encoder to the artifact at `path`.

    `supervised`: weight of the images' labels. Raises AlexNetError.
    """
    from training.hashing.autoencoder import CodeConfig
    from training.hashing.train_codes import add_encoder

    entries = [entry for entry in index.catalog.iter_entries() if entry.id not in index.damaged]
    if len(entries) > MAX_TRAINING_FEATURES:
        entries = [entries[row] for row in _sample(len(entries), MAX_TRAINING_FEATURES, seed)]
    features = np.stack([index.feature(entry.id) for entry in entries]) if entries else np.empty((0, 1), np.float32)
    numbers: dict[str | None, int] = {}
    labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in entries]) if supervised else None
    config = CodeConfig(steps=steps, supervised=supervised, seed=seed)
    return add_encoder(path, features, coder, bits, config, labels, log)


def _sample(total: int, count: int, seed: int = 0) -> list[int]:
    return sorted(np.random.default_rng(seed).permutation(total)[:count].tolist())


def _indexed_queries(index: ImageIndex, max_images: int) -> list[LabeledQuery]:
    entries = [entry for entry in index.catalog.iter_entries() if entry.label and entry.id not in index.damaged]
    chosen = [entries[row] for row in _sample(len(entries), max_images)]
    return [LabeledQuery(index.feature(entry.id), entry.label or "", entry.id) for entry in chosen]


def _file_queries(index: ImageIndex, folder: Path, max_images: int, network: Path, device: str) -> list[LabeledQuery]:
    from index.build import find_images
    from model.images.preprocess import decode_image
    from model.runtime import OnnxModel

    model, sources = OnnxModel(network, device), [source for source in find_images(folder) if source.label]
    queries = []
    for row in _sample(len(sources), max_images):
        pixels = decode_image(sources[row].path.read_bytes()).pixels
        queries.append(LabeledQuery(model.features(pixels[None], index.crops)[0], sources[row].label or ""))
    return queries
