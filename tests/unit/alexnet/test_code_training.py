"""Codes trained with labels: images without a label form no class, and an index without labels is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from alexnet.code_training import train_codes
from index.folder.store import FolderIndex
from model.artifacts.artifact import ENCODER, Artifact
from model.exceptions import TrainingError
from tests.helpers.indexes import DIM, make_entry


def train(artifact: Artifact, folder: Path, labels: Sequence[str | None]) -> list[str]:
    """Train supervised codes on random features with these labels; return the log lines."""
    shutil.copytree(artifact.path, folder / "a" / "1")
    logged: list[str] = []
    with closing(FolderIndex.create(folder / "i", artifact)) as index:
        features = np.random.default_rng(0).random((len(labels), DIM), np.float32)
        index.add(features, [make_entry(number, label) for number, label in enumerate(labels)])
        train_codes(folder / "a" / "1", index, 8, 2, "neighbors", 0.5, 0, logged.append)
    return logged


def test_an_index_without_labels_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="supervised codes need labels: label the images of the index"):
        train(artifact, tmp_path, [None] * 410)
    assert not (tmp_path / "a" / "1" / ENCODER).exists()


def test_images_without_a_label_are_counted(artifact: Artifact, tmp_path: Path) -> None:
    logged = train(artifact, tmp_path, ["cat", "dog", *[None] * 408])
    assert logged[0] == "408 of 410 images have no label: the label loss ignores them"
    assert (tmp_path / "a" / "1" / ENCODER).is_file()


def test_codes_of_a_large_index_are_trained_on_a_sample(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.code_training.MAX_TRAINING_FEATURES", 405)
    logged = train(artifact, tmp_path, ["cat", *[None] * 409])
    assert " of 405 images have no label: the label loss ignores them" in logged[0]
