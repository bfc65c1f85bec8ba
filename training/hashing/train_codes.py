"""`alexnet codes train`: an encoder made from features, measured beside the other coders, and put into an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import ENCODER, Artifact, Measurement
from model.artifacts.writer import add
from model.exceptions import InvalidRequestError, TrainingError
from training.hashing.autoencoder import CodeConfig, train
from training.hashing.coders import LINEAR, Array, Coder

CODERS = ("autoencoder", *LINEAR)
HELD_OUT, MOST_HELD_OUT = 0.2, 500
LISTED = 100


def make(kind: str, features: Array, bits: int, chosen: CodeConfig, labels: NDArray[np.int64] | None) -> Coder:
    """A coder of `CODERS`, trained on (N, dim) features. Raises InvalidRequestError or TrainingError."""
    if kind not in CODERS:
        raise InvalidRequestError(f"expected a coder of {', '.join(CODERS)}, found {kind!r}")
    if not 8 <= bits <= 1024:
        raise InvalidRequestError(f"expected codes of 8 to 1024 bits, found {bits}")
    return train(features, bits, chosen, labels) if kind == "autoencoder" else LINEAR[kind](features, bits, chosen.seed)


def recall(coder: Coder, features: Array, queries: Array, k: int = 10, listed: int = LISTED) -> float:
    """The share of the k nearest of each query by Euclidean distance among the `listed` nearest by Hamming distance."""
    import faiss

    _, near = faiss.knn(queries, features, k)
    _, short = faiss.knn_hamming(coder.encode(queries), coder.encode(features), min(listed, len(features)))
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(near.tolist(), short.tolist(), strict=True)]))


def add_encoder(
    path: Path,
    features: Array,
    kind: str,
    bits: int,
    chosen: CodeConfig,
    labels: NDArray[np.int64] | None,
    say: Callable[[str], None],
) -> Artifact:
    """Train on four fifths of the features and say the recall on the rest, beside ITQ's; then train on all, and put
    encoder.onnx into the artifact at `path`.

    Raises InvalidRequestError, TrainingError or ArtifactError, with the artifact as it was.
    """
    artifact = artifacts.load(path)
    if len(features) <= 4 * LISTED:
        raise TrainingError(f"expected over {4 * LISTED} images in the index to train codes on, found {len(features)}")
    order = np.random.default_rng(chosen.seed).permutation(len(features))
    held_out = order[: min(MOST_HELD_OUT, int(HELD_OUT * len(order)))]
    rest = np.sort(order[len(held_out) :])
    for name in dict.fromkeys((kind, "itq")):
        tried = make(name, features[rest], bits, chosen, None if labels is None else labels[rest])
        share = recall(tried, features[rest], features[held_out])
        say(f"{name}, {bits} bits: {100 * share:.1f} % of the nearest 10 among the first {LISTED} by Hamming distance")
    coder = make(kind, features, bits, chosen, labels)

    def write(target: Path) -> list[Measurement]:
        onnx.save(coder.graph(), target)
        return []

    return add(artifact, ENCODER, write)
