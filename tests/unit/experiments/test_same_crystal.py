"""Twins among solar cells, and errors on cells with and without a twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.same_crystal import compare_errors, correlate, read_grains
from training.evaluation.predictions import Predictions


def test_a_turned_cell_is_a_twin_and_another_crystal_is_not(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    crystals = draw.uniform(60, 200, (150, 12, 12)).repeat(8, 1).repeat(8, 2)
    crystals[7] = np.rot90(crystals[0])[:, ::-1]
    crystals[:, 46:50] = 20  # a busbar, which all cells have
    files = [str(tmp_path / f"cell{number:04d}.png") for number in range(150)]
    for file, cell in zip(files, crystals, strict=True):
        Image.fromarray(cell.astype(np.uint8)).save(file)
    best = correlate(read_grains(files))
    assert np.argsort(best, axis=None)[-2:].tolist() in ([7, 1050], [1050, 7])  # the pairs (0, 7) and (7, 0)
    assert best[0, 7] > np.sort(best, axis=None)[-3] + 0.05


def test_errors_with_and_without_a_twin() -> None:
    center = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], np.float32)
    predictions = Predictions(np.array([0, 1, 1, 1]), ("a", "b", "c", "d"), center, None)
    errors = compare_errors(predictions, np.array([True, True, True, False]))
    assert [errors[f"{name}, center crop"][:2] for name in ("all", "with a twin", "without a twin")] == [
        [4, 0.5], [3, 1 / 3], [1, 1.0]
    ]  # fmt: skip
