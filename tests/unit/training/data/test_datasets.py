"""Folders and the solar cells: splits that are stratified and reproducible, and clear refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from alexnet.indexing import list_image_files
from model.exceptions import DatasetError
from training.data.archives import load_elpv
from training.data.datasets import split_rows
from training.data.folders import load_folder
from training.data.loading import load_dataset


def make(root: Path, files: dict[str, int]) -> Path:
    for name, count in files.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(f"{name} {number}".encode())
    return root


def test_each_class_is_split_alike(tmp_path: Path) -> None:
    dataset = load_folder(make(tmp_path / "d", {"cat": 20, "dog": 40, "eel": 3}))
    counted = {split: Counter(example.label for example in es) for split, es in dataset.splits().items()}
    assert counted["test"] == {0: 3, 1: 6, 2: 1}
    assert counted["validation"] == {0: 2, 1: 4, 2: 1}
    assert counted["train"] == {0: 15, 1: 30, 2: 1}
    assert len({example.path for example in dataset.examples}) == 63
    assert dataset == load_folder(tmp_path / "d")
    assert dataset.test != load_folder(tmp_path / "d", seed=1).test


def test_given_splits_are_kept(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 2})
    dataset = load_folder(root)
    assert [label.id for label in dataset.labels] == ["cat", "dog"]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (6, 3, 0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no classes in"),
        ({"cat": 5}, "at least two classes"),
        (
            {"cat": 5, "dog": 0},
            r"at least two classes are needed \(1 folder without images left out: dog; a class needs",
        ),
        ({"cat": 2, "dog": 2}, "at least one class needs three"),
    ],
)
def test_untrainable_folders_are_refused(tmp_path: Path, files: dict[str, int], message: str) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DatasetError, match=message):
        load_folder(make(tmp_path / "d", files))


def test_options_that_the_data_does_not_use_are_refused(tmp_path: Path) -> None:
    folder, table = str(tmp_path), str(tmp_path / "table.csv")
    for name in ("elpv", "grocery", "cifar10"):
        with pytest.raises(DatasetError, match=f"--exclude is for .*: leave it out with --data {name}$"):
            load_dataset(name, exclude=("*",))
    for name in (folder, table, "elpv"):
        with pytest.raises(DatasetError, match=r"--archive is for grocery and cifar10: leave it out with --data"):
            load_dataset(name, archive=tmp_path / "x.zip")
        with pytest.raises(DatasetError, match=r"--archive is for grocery and cifar10: leave it out with --data"):
            list_image_files(name, tmp_path / "x.zip", None, ())
    with pytest.raises(DatasetError, match=r"--exclude is for .*: leave it out with --data elpv$"):
        list_image_files("elpv", None, None, ("*",))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder at elvp: .*a \.csv file, or elpv, grocery or cifar10"):
        load_dataset("elvp")
    with pytest.raises(DatasetError, match="no folder at"):
        load_folder(tmp_path / "nothing")


def test_solar_cells() -> None:
    dataset = load_elpv()
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (1774, 196, 654)
    assert len(dataset.labels) == 8
    assert Counter(dataset.groupings["functional or defective"]) == {"functional": 4, "defective": 4}
    held_out = {example.path for example in dataset.test}
    assert held_out.isdisjoint(example.path for example in dataset.train + dataset.validation)
    assert {example.label for example in dataset.test} == set(range(8))


def test_validation_is_held_out_of_train_where_there_is_none(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"train/cat": 20, "train/dog": 20, "test/cat": 3, "test/dog": 3})
    dataset = load_folder(root)
    assert [label.id for label in dataset.labels] == ["cat", "dog"]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 6)
    assert all(example.path.parts[-3] == "train" for example in dataset.train + dataset.validation)
    make(root, {"val/cat": 1, "validation/cat": 1})
    with pytest.raises(DatasetError, match="contains both val"):
        load_folder(root)


def test_a_changed_folder_is_another_split(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"cat": 20, "dog": 20, ".thumbs": 3, "cat/.thumbs": 3})
    before = load_folder(root)
    assert len(before.examples) == 40
    assert before.split_sha256() == load_folder(root).split_sha256()
    (root / "cat" / "7.jpg").unlink()
    assert before.split_sha256() != load_folder(root).split_sha256()


@pytest.mark.parametrize("folder", ["a\u2028b", "a\x85b", "a\nb", "a\rb", 'a",b'])
def test_the_rows_of_a_split_are_the_same_wherever_its_folder_is(tmp_path: Path, folder: str) -> None:
    """Whatever characters the folder's name has, such as unusual line breaks."""
    first, second = (load_folder(make(tmp_path / name, {"cat": 3, "dog": 3})) for name in ("plain", folder))
    assert split_rows(first.split_csv()) == split_rows(second.split_csv())
    assert len(split_rows(second.split_csv())) == 7
