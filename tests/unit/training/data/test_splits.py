"""Splits by half and by neighborhood."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError
from training.data.archives import load_elpv
from training.data.folders import load_folder, write_table
from training.data.loading import load_dataset
from training.data.splits import NEIGHBORHOOD_SIZE, resplit
from training.data.training_data import load_training_dataset


def test_half_of_each_class_is_tested(images: Path) -> None:
    own = load_dataset(str(images))
    dataset = load_dataset(str(images), split="half")
    assert Counter(e.label for e in dataset.test) == {0: 15, 1: 15, 2: 15}  # of 30
    assert Counter(e.label for e in dataset.validation) == {0: 2, 1: 2, 2: 2}
    assert sorted(dataset.examples) == sorted(own.examples)
    assert dataset.split_description == f"{own.name} half/half, seed 0"
    assert load_dataset(str(images), split="half") == dataset
    assert load_dataset(str(images), seed=1, split="half").test != dataset.test


def test_the_table_of_a_run_keeps_its_split(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    half = load_dataset(str(images), split="half")
    write_table(half, table)
    assert load_dataset(str(table), split="half").split_sha256() == half.split_sha256()
    write_table(load_dataset(str(images)), table)
    with pytest.raises(DatasetError, match=r"are split as in its run \(.*\), not by --split half: leave it out"):
        load_dataset(str(table), split="half")


def test_the_split_of_a_trained_network_is_found_again(artifact: Artifact, images: Path) -> None:
    training = artifact.manifest.training | {"split_method": "half"}
    trained = replace(artifact, manifest=artifact.manifest.model_copy(update={"training": training}))
    expected = load_dataset(str(images), int(training["seed"]), split="half")
    assert load_training_dataset(trained, str(images), None).split_sha256() == expected.split_sha256()


def test_a_named_data_set_is_loaded_whole_by_a_network_whose_training_left_files_out(artifact: Artifact) -> None:
    training = artifact.manifest.training | {"exclude": ["*"]}
    trained = replace(artifact, manifest=artifact.manifest.model_copy(update={"training": training}))
    assert load_training_dataset(trained, "elpv", None) == load_elpv()


def test_neighbors_are_on_one_side() -> None:
    dataset = resplit(load_elpv(), "neighborhood", 0)
    assert len(dataset.examples) == 2624
    assert 656 <= len(dataset.test) < 656 + NEIGHBORHOOD_SIZE
    assert 197 <= len(dataset.validation) < 197 + NEIGHBORHOOD_SIZE
    side = {e.file: split for split, examples in dataset.splits().items() for e in examples}
    names = sorted(side)
    for start in range(0, len(names), NEIGHBORHOOD_SIZE):
        assert len({side[name] for name in names[start : start + NEIGHBORHOOD_SIZE]}) == 1
    assert {e.label for e in dataset.train} == set(range(8))
    assert resplit(load_elpv(), "neighborhood", 0) == dataset
    other = resplit(load_elpv(), "neighborhood", 1)
    assert set(other.test) != set(dataset.test)
    assert set(other.validation) != set(dataset.validation)


def test_a_class_that_would_not_be_trained_is_named(few: Path) -> None:
    with pytest.raises(DatasetError, match=r"--split neighborhood: (the class \w+ has no images|nothing is left)"):
        resplit(load_folder(few), "neighborhood", 0)
