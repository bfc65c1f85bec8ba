"""Training of binary codes on the features of an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.protocol import Index, intact_entries
from model.artifacts.artifact import Artifact
from training.hashing.autoencoder import CodeConfig, Objective
from training.hashing.train_codes import add_encoder

MAX_TRAINING_FEATURES = 50_000
"""Features that a code is trained on: 0.8 GB."""


def train_codes(
    path: Path,
    index: Index,
    bits: int,
    steps: int,
    objective: Objective,
    supervised: float,
    seed: int,
    log: Callable[[str], None],
) -> Artifact:
    """Train a binary code on the features of an index and add its encoder to the artifact at `path`.

    `objective`: see `training.hashing.autoencoder`. `supervised`: weight of the images' labels. Raises AlexNetError.
    """
    entries = intact_entries(index)
    if len(entries) > MAX_TRAINING_FEATURES:
        order = np.random.default_rng(seed).permutation(len(entries))
        entries = [entries[row] for row in sorted(order[:MAX_TRAINING_FEATURES].tolist())]
    features = index.features([entry.id for entry in entries])
    numbers: dict[str | None, int] = {}
    labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in entries]) if supervised else None
    config = CodeConfig(objective=objective, steps=steps, supervised=supervised, seed=seed)
    return add_encoder(path, features, bits, config, labels, log)
