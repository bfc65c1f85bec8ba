"""Errors on photographs: what the command refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from experiments.photos.measure import main, measure_sources
from model.artifacts.artifact import Artifact
from model.datasets.listing import ListedImage, Listing
from model.exceptions import DatasetError, InvalidRequestError
from training.evaluation.predictions import Predictions


@pytest.mark.parametrize("half", ["test", None])
def test_only_images_to_choose_by_are_drawn(half: Literal["test"] | None, tmp_path: Path) -> None:
    """The refusal comes before anything is loaded."""
    with pytest.raises(InvalidRequestError, match="--drawing is for --half validation"):
        main(half, artifact=tmp_path / "none", data=tmp_path / "none", drawing=tmp_path / "mistakes.png")


def test_a_table_without_training_images_of_a_class_is_refused(artifact: Artifact) -> None:
    label = artifact.labels[0].id
    images = ListedImage("a.png", label, "train", "x"), ListedImage("b.png", label, "test", "x")
    table = Listing(Path("photos.csv"), images, artifact.labels[:1], has_splits=True)
    center = np.full((1, len(artifact.labels)), 1 / len(artifact.labels), np.float32)
    predictions = Predictions(np.zeros(1, np.int64), ("b.png",), center, None)
    with pytest.raises(DatasetError, match=f"photos.csv has no training images of {artifact.labels[1].id}: "):
        measure_sources(artifact, predictions, table)
