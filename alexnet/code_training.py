"""Train binary codes on the features of an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.backends import IndexUri, open_writable
from index.entries import Entry
from index.postgres.address import PostgresAddress
from index.protocol import Index, intact_entries, require_codes
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.sampling import draw_sample
from training.hashing.autoencoder import UNLABELED, CodeConfig, Objective
from training.hashing.train_codes import add_encoder

MAX_TRAINING_FEATURES = 50_000
"""Maximum number of features that a code is trained on: 0.8 GB."""


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

    `objective`: see `training.hashing.autoencoder`. `supervised`: weight of the label loss, in which images
    without a label don't count. Raises AlexNetError.
    """
    entries = draw_sample(intact_entries(index), MAX_TRAINING_FEATURES, seed)
    features = index.features([entry.id for entry in entries])
    labels = _number_labels(entries, log) if supervised else None
    config = CodeConfig(objective=objective, steps=steps, supervised=supervised, seed=seed)
    return add_encoder(path, features, bits, config, labels, log)


def make_codes(uri: IndexUri, artifact: Artifact) -> bool:
    """Compute the codes of a PostgreSQL index, which all its readers share.

    Returns False for other indexes, whose readers compute the codes themselves. Raises AlexNetError.
    """
    if not isinstance(uri.location, PostgresAddress):
        return False
    with closing(open_writable(uri)) as index:
        require_codes(index).set_encoder(Encoder.of(artifact))
    return True


def _number_labels(entries: Sequence[Entry], log: Callable[[str], None]) -> NDArray[np.int64] | None:
    """The label of each entry as a number, or UNLABELED; None if no entry has a label. Log how many have none."""
    numbers: dict[str, int] = {}
    labels = [UNLABELED if entry.label is None else numbers.setdefault(entry.label, len(numbers)) for entry in entries]
    if not numbers:
        return None
    if unlabeled := labels.count(UNLABELED):
        log(f"{unlabeled:,} of {len(entries):,} images have no label: the label loss ignores them")
    return np.array(labels, np.int64)
