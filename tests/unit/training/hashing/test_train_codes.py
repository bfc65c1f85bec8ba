"""Codes that can't be trained are refused before the work."""

from __future__ import annotations

import numpy as np
import pytest

from model.artifacts.artifact import Artifact
from model.exceptions import TrainingError
from training.hashing.autoencoder import CodeConfig
from training.hashing.train_codes import add_encoder


@pytest.mark.parametrize(
    ("num_images", "message"),
    [
        (400, "codes need over 400 images in the index to be trained, got 400"),
        (600, "codes of 512 bits need over 512 images to train on, got 480 beside the 120 that measure them"),
    ],
)
def test_too_few_images(artifact: Artifact, num_images: int, message: str) -> None:
    features = np.random.default_rng(0).random((num_images, 600), np.float32)
    with pytest.raises(TrainingError, match=message):
        add_encoder(artifact.path, features, 512, CodeConfig(), None, lambda _: None)
    assert "encoder.onnx" not in {file.name for file in artifact.path.iterdir()}
