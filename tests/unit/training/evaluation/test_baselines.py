"""Plain baselines of a real run: their results and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.artifacts.artifact import Artifact
from model.artifacts.intervals import wilson_interval
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.evaluation.baselines import (
    BASELINES,
    HOG,
    Baseline,
    measure_hog,
    nearest_neighbor_error,
    read_baselines,
    write_baselines,
)


def test_the_nearest_neighbor_says_the_class() -> None:
    train = np.array([[0, 0], [1, 0], [5, 5]], np.float32)
    features = np.array([[0.1, 0], [4, 4], [0.9, 0]], np.float32)
    assert nearest_neighbor_error(train, np.array([0, 1, 2]), features, np.array([0, 2, 2])) == pytest.approx(1 / 3)


def test_histograms_of_drawn_patterns(few: Path, tmp_path: Path) -> None:
    """The patterns are circles, stripes and checks: edges tell them apart better than chance; colors don't count."""
    dataset = load_folder(few)
    baseline = measure_hog(dataset, build_cache(dataset, tmp_path), 0)
    assert (baseline.method, baseline.split, baseline.num_images) == (HOG, "test", len(dataset.test))
    assert baseline.top1_error < 2 / 3
    assert baseline.interval == wilson_interval(baseline.top1_error, baseline.num_images)


def test_they_are_kept_in_a_file_and_in_the_manifest(artifact: Artifact, tmp_path: Path) -> None:
    baselines = [Baseline("method", "test", 0.5, 10, 20)]
    write_baselines(tmp_path, baselines)
    assert read_baselines(tmp_path) == baselines
    (tmp_path / BASELINES).write_text('[{"method": "cut')
    assert read_baselines(tmp_path) == []
    (recorded,) = artifact.manifest.training["baselines"]
    assert recorded["method"] == HOG
