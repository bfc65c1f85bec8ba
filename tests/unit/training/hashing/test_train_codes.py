"""`alexnet codes train`: what is refused before training, and what is held out to measure the recall."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError, TrainingError
from training.hashing import train_codes
from training.hashing.autoencoder import CodeConfig
from training.hashing.binary_encoder import Array, BinaryEncoder
from training.hashing.train_codes import add_encoder, hamming_recall


@pytest.mark.parametrize(
    ("num_images", "message"),
    [
        (400, "code training needs over 400 images in the index, got 400"),
        (600, "codes of 512 bits need over 512 images to train on, got 480 besides the 120 held out to measure them"),
    ],
)
def test_too_few_images(artifact: Artifact, num_images: int, message: str) -> None:
    features = np.random.default_rng(0).random((num_images, 600), np.float32)
    with pytest.raises(TrainingError, match=message):
        add_encoder(artifact.path, features, 512, CodeConfig(), None, lambda _: None)
    assert "encoder.onnx" not in {file.name for file in artifact.path.iterdir()}


@pytest.mark.parametrize("bits", [7, 1025])
def test_codes_have_8_to_1024_bits(artifact: Artifact, bits: int) -> None:
    features = np.zeros((2000, 1200), np.float32)
    with pytest.raises(InvalidRequestError, match=f"invalid --bits {bits}: codes have 8 to 1024 bits"):
        add_encoder(artifact.path, features, bits, CodeConfig(), None, lambda _: None)


def test_images_that_measure_are_not_trained_on_before(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(artifact.path, tmp_path / "a" / "1")
    features, labels = np.random.default_rng(0).random((3000, 64), np.float32), np.arange(3000)
    trained: list[list[int]] = []
    measured: list[tuple[int, int]] = []
    number = {row.tobytes(): i for i, row in enumerate(features)}

    def train(rows: Array, bits: int, config: CodeConfig, labels: NDArray[np.int64]) -> BinaryEncoder:
        assert [number[row.tobytes()] for row in rows] == labels.tolist()
        trained.append(labels.tolist())
        return BinaryEncoder("lsh", np.eye(64, bits, dtype=np.float32), np.zeros(bits, np.float32))

    def recall(encoder: BinaryEncoder, rows: Array, queries: Array) -> float:
        measured.append((len(rows), len(queries)))
        assert not {row.tobytes() for row in rows} & {row.tobytes() for row in queries}
        return 1.0

    monkeypatch.setattr(train_codes, "train_autoencoder", train)
    monkeypatch.setattr(train_codes, "hamming_recall", recall)
    train_codes.add_encoder(path, features, 8, CodeConfig(), labels, lambda _: None)
    assert measured == [(2500, 500)]
    assert [len(rows) for rows in trained] == [2500, 3000]


def test_recall_counts_the_ten_nearest_among_a_hundred() -> None:
    """Codes of the first dimension only: by it the nearest are some of 150 equal rows, ties in order of the rows."""
    features = np.zeros((300, 2), np.float32)
    features[:150, 0], features[150:, 0] = 1, -1
    features[:, 1] = np.arange(300) / 1000
    encoder = BinaryEncoder("lsh", np.array([[1] * 8, [0] * 8], np.float32), np.zeros(8, np.float32))
    near, far = features[[5]] + 1e-5, features[[140]] + 1e-5
    assert hamming_recall(encoder, features, near) == 1
    assert hamming_recall(encoder, features, far) == 0
