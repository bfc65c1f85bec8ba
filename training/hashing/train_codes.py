"""`alexnet codes train`: an encoder trained on an index's features, measured, and added to an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import ENCODER, Artifact, Measurement
from model.artifacts.writer import add_file
from model.exceptions import InvalidRequestError, TrainingError
from training.hashing.autoencoder import CodeConfig, train_autoencoder
from training.hashing.binary_encoder import Array, BinaryEncoder

HELD_OUT, MAX_HELD_OUT = 0.2, 500
"""Share of the images that are held out to measure recall, and their maximum number."""
NUM_NEIGHBORS, SHORTLIST = 10, 100


def hamming_recall(encoder: BinaryEncoder, features: Array, queries: Array) -> float:
    """The share of each query's ten Euclidean neighbors that are among its hundred nearest by Hamming distance."""
    import faiss

    _, nearest = faiss.knn(queries, features, NUM_NEIGHBORS)
    _, candidates = faiss.knn_hamming(encoder.encode(queries), encoder.encode(features), SHORTLIST)
    pairs = zip(nearest.tolist(), candidates.tolist(), strict=True)
    return float(np.mean([len(set(exact) & set(short)) / NUM_NEIGHBORS for exact, short in pairs]))


def add_encoder(
    path: Path,
    features: Array,
    bits: int,
    config: CodeConfig,
    labels: NDArray[np.int64] | None,
    log: Callable[[str], None],
) -> Artifact:
    """Hold out a fifth of the features, 500 at most, train on the rest and log the recall of those held out; then train
    on all, and put encoder.onnx into the artifact at `path`.

    Raises InvalidRequestError, TrainingError or ArtifactError; the artifact is then unchanged.
    """
    artifact = artifacts.load(path)
    if not 8 <= bits <= 1024:
        raise InvalidRequestError(f"invalid --bits {bits}: codes have 8 to 1024 bits")
    if len(features) <= 4 * SHORTLIST:
        raise TrainingError(f"code training needs over {4 * SHORTLIST} images in the index, got {len(features)}")
    order = np.random.default_rng(config.seed).permutation(len(features))
    held_out = order[: min(MAX_HELD_OUT, int(HELD_OUT * len(order)))]
    rest = np.sort(order[len(held_out) :])
    if len(rest) <= bits:
        raise TrainingError(
            f"codes of {bits} bits need over {bits} images to train on, got {len(rest)} besides the {len(held_out)} "
            "held out to measure them: add images, or choose fewer --bits"
        )
    trial = train_autoencoder(features[rest], bits, config, None if labels is None else labels[rest])
    share = hamming_recall(trial, features[rest], features[held_out])
    log(
        f"{bits} bits: {100 * share:.1f} % of the {NUM_NEIGHBORS} nearest neighbors are among the first {SHORTLIST} by "
        "Hamming distance"
    )
    encoder = train_autoencoder(features, bits, config, labels)

    def write(target: Path) -> list[Measurement]:
        onnx.save(encoder.to_onnx(), target)
        return []

    return add_file(artifact, ENCODER, write)
