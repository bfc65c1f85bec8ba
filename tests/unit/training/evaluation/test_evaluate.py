"""Errors, group accuracies and measurements of each class, by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from alexnet.cli.app import app
from model.artifacts.artifact import Artifact, Label
from model.artifacts.intervals import wilson_interval
from model.exceptions import DatasetError
from model.images.contract import DEFAULT_CONTRACT
from model.images.limits import ImageLimits
from model.runtime import OnnxModel
from training.data.folders import load_folder
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.per_class import measure_classes
from training.evaluation.predictions import Predictions, measure, write_tables

LABELS = tuple(Label(id=name, name=name.title()) for name in ("cat", "dog", "eel"))


def test_measure() -> None:
    probability = np.array([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7], [0.6, 0.25, 0.15], [0.2, 0.5, 0.3]], np.float32)
    labels = np.array([0, 2, 1, 2])
    m = measure(probability, labels, "here", 1, {"coarse": ("x", "y", "y")})
    assert m.top1_error == 0.5
    # the probability of y is 0.6, 0.9, 0.4, 0.8; the truth is x, y, y, y
    assert m.groups == {"coarse": 0.5}
    assert m.balanced_accuracy == pytest.approx((1 + 0 + 1 / 2) / 3)


def test_no_top5_error_of_five_classes_or_fewer() -> None:
    probability = np.tile(np.linspace(0.3, 0.01, 5, dtype=np.float32), (5, 1))
    m = measure(probability, np.arange(5), "here", 10, {})
    assert (m.top5_error, m.top5_interval) == (None, None)


def test_top5_among_many() -> None:
    probability = np.tile(np.linspace(0.3, 0.01, 10, dtype=np.float32), (10, 1))
    m = measure(probability, np.arange(10), "here", 10, {})
    assert m.top5_error is not None
    assert (round(m.top1_error, 6), round(m.top5_error, 6)) == (0.9, 0.5)


def test_each_class() -> None:
    cat, dog, eel = measure_classes(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]), LABELS)
    assert (cat.precision, cat.recall) == (2 / 3, 2 / 3)
    assert cat.f1 == pytest.approx(2 / 3)
    assert cat.recall_interval == wilson_interval(2 / 3, 3)
    assert (dog.precision, dog.recall, dog.f1) == (0, 0, 0)
    assert (eel.precision, eel.recall, eel.f1) == (None, None, None)


def test_tables(tmp_path: Path) -> None:
    center = np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]], np.float32)
    predictions = Predictions(np.array([0, 1]), ("a, b.jpg", "c.jpg"), center, None)
    assert predictions.mistakes.tolist() == [1]
    write_tables(tmp_path / "new", predictions, LABELS)
    with (tmp_path / "new" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["path"] == "a, b.jpg"
    assert rows[1] == {
        "path": "c.jpg", "label": "dog", "predicted": "cat", "correct": "0", "probability": "0.9000",
        "label_probability": "0.0500",
    }  # fmt: skip
    with (tmp_path / "new" / "per_class.csv").open(newline="") as file:
        classes = {row["class"]: row for row in csv.DictReader(file)}
    assert [classes["cat"][name] for name in ("precision", "recall", "f1")] == ["0.5000", "1.0000", "0.6667"]
    assert (classes["eel"]["recall"], classes["eel"]["recall_low"]) == ("", "")


def test_unreadable_files_are_left_out(images: Path, model: OnnxModel, tmp_path: Path) -> None:
    dataset = load_folder(images)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    examples = (dataset.test[0]._replace(file=str(broken)), *dataset.test[:3])
    predictions = predict(model, decode_batches(examples, DEFAULT_CONTRACT), 4)
    assert predictions.files == tuple(example.file for example in dataset.test[:3])
    center, ten = predictions.measurements("here", {})
    assert (center.num_images, center.crops, ten.crops) == (3, 1, 10)
    with pytest.raises(DatasetError, match="no image to measure on"):
        predict(model, decode_batches(examples[:1], DEFAULT_CONTRACT), 1)


def test_larger_images_than_allowed_are_left_out(
    images: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = load_folder(images).test[:2]
    assert list(decode_batches(examples, DEFAULT_CONTRACT, ImageLimits(max_pixels=1))) == []
    assert "skipped 2 of 2 files" in capsys.readouterr().out
    for command in ("evaluate", "quantize", "calibrate"):
        arguments = [command, "--data", str(images), "--artifact", str(artifact.path), "--max-pixels", "1"]
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, DatasetError), command
        assert "can be decoded" in str(result.exception)
