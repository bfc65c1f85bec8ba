"""Diagnostics of training: when a warning is due, and what it advises."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from model.artifacts.artifact import MANIFEST, Artifact
from training.config import RunOptions, TrainConfig
from training.data.folders import load_folder
from training.loop import diagnostics
from training.optim.initial_weights import InitialState


def test_no_progress() -> None:
    assert diagnostics.no_progress_warning(0.9, 1.0986, 50, 150, "paper") is None
    assert diagnostics.no_progress_warning(1.0986, 1.0986, 2, 6, "paper") is None  # too early
    warning = diagnostics.no_progress_warning(1.0986, 1.0986, 50, 150, "paper")
    assert warning is not None
    assert "still no better than guessing without looking at the images (1.099)" in warning
    assert "leave out --recipe" in warning
    assert "--recipe" not in str(diagnostics.no_progress_warning(1.0986, 1.0986, 50, 150, "fine-tune"))


def test_data_stall() -> None:
    assert diagnostics.data_stall_warning(1.0, 20.0) is None
    warning = diagnostics.data_stall_warning(10.0, 20.0)
    assert warning is not None
    assert "50 % of the time was spent waiting for images" in warning


def test_large_batch() -> None:
    assert diagnostics.large_batch_warning(512) is None
    assert "this batch has 2,048" in (diagnostics.large_batch_warning(2048) or "")


def test_a_network_of_another_split_of_the_same_data(artifact: Artifact, images: Path) -> None:
    """Its training images may be this run's test images."""
    config = TrainConfig.create(run=RunOptions(init_from=artifact.path))
    dataset, other = load_folder(images, seed=0), load_folder(images, seed=1)
    initial = InitialState.create(config, dataset.labels)
    assert diagnostics.split_warning(initial, dataset) is None
    warning = diagnostics.split_warning(initial, other) or ""
    assert "trained on another split of patterns" in warning
    assert "keep that network's split with --split-from" in warning
    assert diagnostics.split_warning(initial, replace(other, kept_splits=(dataset.split_sha256(),))) is None
    assert diagnostics.split_warning(initial, replace(other, name="others")) is None
    assert diagnostics.split_warning(InitialState.create(TrainConfig.create(), dataset.labels), other) is None


def test_a_network_of_several_splits_of_the_same_data(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """It started from a network of another split, so no split holds out only images that it doesn't know."""
    start = {"splits_of_ancestors": [[artifact.manifest.training["dataset"], "0" * 64]]}
    path = Path(shutil.copytree(artifact.path, tmp_path / "patterns" / "1"))
    manifest = artifact.manifest.model_copy(update={"training": artifact.manifest.training | start})
    (path / MANIFEST).write_text(manifest.model_dump_json())
    dataset = load_folder(images, seed=0)
    initial = InitialState.create(TrainConfig.create(run=RunOptions(init_from=path)), dataset.labels)
    for own in (dataset, replace(dataset, kept_splits=(dataset.split_sha256(),)), load_folder(images, seed=1)):
        warning = diagnostics.split_warning(initial, own) or ""
        assert warning.endswith("among its training images: start from another network, such as --init-from photos")
