"""Errors and group accuracies, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.exceptions import DatasetError
from model.runtime import OnnxModel
from training.data.folders import load_folder
from training.evaluation.evaluate import decode_batches, format_measurements, measure, predict


def test_measure() -> None:
    probability = np.array([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7], [0.6, 0.25, 0.15], [0.2, 0.5, 0.3]], np.float32)
    labels = np.array([0, 2, 1, 2])
    m = measure(probability, labels, "here", 1, {"coarse": ("x", "y", "y")})
    assert m.top1_error == 0.5
    assert m.top5_error == 0
    # the probability of y is 0.6, 0.9, 0.4, 0.8; the truth is x, y, y, y
    assert m.groups == {"coarse": 0.5}
    assert "top-1 error 50.00 %" in format_measurements([m])


def test_top5_among_many() -> None:
    probability = np.tile(np.linspace(0.3, 0.01, 10, dtype=np.float32), (10, 1))
    m = measure(probability, np.arange(10), "here", 10, {})
    assert (round(m.top1_error, 6), round(m.top5_error, 6)) == (0.9, 0.5)


def test_unreadable_files_are_left_out(images: Path, model: OnnxModel, tmp_path: Path) -> None:
    dataset = load_folder(images)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    examples = (dataset.test[0]._replace(file=str(broken)), *dataset.test[:3])
    center, ten = predict(model, decode_batches(examples), 4).measurements("here", {})
    assert (center.num_images, center.crops, ten.crops) == (3, 1, 10)
    with pytest.raises(DatasetError, match="no image to measure on"):
        predict(model, decode_batches(examples[:1]), 1)
