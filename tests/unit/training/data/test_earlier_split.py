"""The split of an earlier run: its images keep their side, and only new ones are drawn."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError
from training.data.datasets import Dataset, Example, stratified_split
from training.data.earlier_split import RENAMED, EarlierSplit
from training.data.folders import SHARES, load_folder, write_table
from training.data.loading import load_dataset
from training.data.training_data import check_training_data, load_training_dataset

TABLE = Path("first") / "split.csv"


def add(root: Path, name: str, numbers: range) -> Path:
    """Add files of one class to a folder, no two alike; return the folder."""
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (root / name / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + f"{name} {number}".encode())
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return add(add(tmp_path / "data", "cat", range(40)), "dog", range(20))


@pytest.fixture
def table(data: Path, tmp_path: Path) -> Path:
    """The split of a run on `data`."""
    (tmp_path / "first").mkdir()
    write_table(load_folder(data), tmp_path / TABLE)
    return tmp_path / TABLE


def sides_of(dataset: Dataset) -> dict[str, str]:
    return {"/".join(example.path.parts[-2:]): split for split, part in dataset.splits().items() for example in part}


def sizes_of(dataset: Dataset, label: int) -> list[int]:
    return [sum(example.label == label for example in part) for part in dataset.splits().values()]


def test_an_unchanged_folder_keeps_its_split(data: Path, table: Path) -> None:
    before = load_folder(data)
    after = load_dataset(str(data), seed=1, split_from=table)
    assert after.split_sha256() == before.split_sha256()
    assert after.kept_splits == (before.split_sha256(),)
    assert not after.notes
    assert (
        after.split_description == "data 75/10/15, seed 1 (60 images as in first/split.csv, 0 new ones drawn, 0 gone)"
    )


def test_images_keep_their_side_and_classes_their_shares(data: Path, table: Path) -> None:
    before = sides_of(load_folder(data))
    add(add(data, "bird", range(20)), "dog", range(20, 40))  # also a class that sorts first
    (data / "cat" / "7.jpg").unlink()
    after = load_dataset(str(data), seed=1, split_from=table)
    del before["cat/7.jpg"]
    assert before.items() <= sides_of(after).items()
    assert [label.id for label in after.labels] == ["bird", "cat", "dog"]
    assert sizes_of(after, 0) == [15, 2, 3]
    assert sizes_of(after, 2) == [30, 4, 6]
    assert "(59 images as in first/split.csv, 40 new ones drawn, 1 gone)" in after.split_description
    assert RENAMED in after.notes
    assert load_dataset(str(data), seed=1, split_from=table) == after
    assert sides_of(load_dataset(str(data), seed=2, split_from=table)) != sides_of(after)
    moved = [name for name, side in sides_of(load_folder(data, 1)).items() if before.get(name, side) != side]
    assert moved, "without the earlier split images move"


def test_the_splits_that_an_earlier_split_kept_are_kept_too(data: Path, table: Path) -> None:
    first = load_folder(data).split_sha256()
    add(data, "cat", range(50, 54))
    second = load_dataset(str(data), split_from=table)
    write_table(second, table.with_name("second.csv"))
    add(data, "cat", range(54, 58))
    third = load_dataset(str(data), split_from=table.with_name("second.csv"))
    assert third.kept_splits == (second.split_sha256(), first)
    info = table.with_name("second.info.json")
    info.write_text(info.read_text().replace(f'"kept_splits": [\n  "{first}"\n ]', f'"kept_split": "{first}"'))
    assert '"kept_split": ' in info.read_text()  # as the first release with --split-from wrote it
    assert load_dataset(str(data), split_from=table.with_name("second.csv")).kept_splits == third.kept_splits


def test_a_class_with_too_many_held_out_images_gets_new_ones_for_training(data: Path, table: Path) -> None:
    for name in [name for name, side in sides_of(load_folder(data)).items() if side == "train"]:
        if name.startswith("cat"):
            (data / name).unlink()
    add(data, "cat", range(40, 44))
    assert sizes_of(load_dataset(str(data), split_from=table), 0) == [4, 4, 6]


def test_data_that_was_copied_to_another_folder(data: Path, table: Path, tmp_path: Path) -> None:
    before = sides_of(load_folder(data))
    copy = add(Path(shutil.copytree(data, tmp_path / "version 2" / "data")), "cow", range(9))
    shutil.rmtree(data)
    after = load_dataset(str(copy), split_from=table)
    assert before.items() <= sides_of(after).items()
    assert "(60 images as in first/split.csv, 9 new ones drawn, 0 gone)" in after.split_description


def test_tables_with_relative_paths(data: Path, table: Path) -> None:
    before = sides_of(load_folder(data))
    listed = data.parent / "first" / "images.csv"
    listed.write_text("path,label\n" + "".join(f"../data/{name},{name[:3]}\n" for name in before))
    assert sides_of(load_dataset(str(listed), seed=1, split_from=table)) == before


def test_new_copies_of_an_image_are_on_its_side(data: Path, table: Path) -> None:
    before = sides_of(load_folder(data))
    for name in before:
        shutil.copy(data / name, (data / name).with_stem(f"copy-{Path(name).stem}"))
    after = sides_of(load_dataset(str(data), split_from=table))
    assert len(after) == 120
    assert all(after[name.replace("/", "/copy-")] == after[name] == side for name, side in before.items())


def test_kept_images_count_in_the_shares() -> None:
    examples = [Example(f"{n}.png", n % 2) for n in range(200)]
    kept = dict.fromkeys(range(0, 20, 2), "test") | dict.fromkeys(range(20, 40, 2), "train")
    for seed in range(5):
        splits = stratified_split(examples, SHARES, seed, None, kept)
        counts = {split: Counter(example.label for example in part) for split, part in splits.items()}
        assert counts == {"train": {0: 75, 1: 75}, "test": {0: 15, 1: 15}, "validation": {0: 10, 1: 10}}
        assert {examples[place] for place in range(0, 20, 2)} <= set(splits["test"])


def test_few_new_images_go_where_a_class_has_none() -> None:
    examples = [Example(f"{n}.png", 0) for n in range(4)]
    for seed in range(5):
        splits = stratified_split(examples, SHARES, seed, None, {0: "train", 1: "train"})
        assert {split: len(part) for split, part in splits.items()} == {"train": 2, "test": 1, "validation": 1}
        splits = stratified_split(examples[:3], SHARES, seed, None, {0: "train", 1: "train"})
        assert [example.file for example in splits["test"]] == ["2.png"]
        splits = stratified_split(examples[:3], SHARES, seed, None, {0: "validation", 1: "validation"})
        assert [example.file for example in splits["train"]] == ["2.png"]


def test_data_with_its_own_split_is_refused(data: Path, table: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        add(add(tmp_path / "own" / split, "cat", range(3)), "dog", range(3))
    for source in (str(tmp_path / "own"), str(table), "elpv"):
        with pytest.raises(DatasetError, match="already has a split: leave out --split-from"):
            load_dataset(source, split_from=table)
    with pytest.raises(DatasetError, match="but --split half splits all images again: choose one"):
        load_dataset(str(data), split="half", split_from=table)


def test_what_is_not_the_split_of_this_data_is_refused(data: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"can't read the split .*other\.csv: No such file"):
        load_dataset(str(data), split_from=tmp_path / "other.csv")
    for content in (b"", b"path,label,split\n", b"path,label\na,b\n", b'path,label,split\n"a', b"\0\n"):
        (tmp_path / "other.csv").write_bytes(content)
        with pytest.raises(DatasetError, match=r"other\.csv is not the split of a run"):
            load_dataset(str(data), split_from=tmp_path / "other.csv")
    others = add(add(tmp_path / "others", "ant", range(20)), "bee", range(20))
    with pytest.raises(DatasetError, match=r"none of the images are in first/split\.csv"):
        load_dataset(str(others), split_from=table)


def test_a_split_of_which_a_side_is_lost_is_refused(data: Path, table: Path) -> None:
    for name, side in sides_of(load_folder(data)).items():
        if side == "validation":
            (data / name).unlink()
    with pytest.raises(DatasetError, match=r"too few images for --split-from .* nothing is left to hold out"):
        load_dataset(str(data), split_from=table)


def test_a_class_of_which_only_held_out_images_are_left_is_named(data: Path, table: Path) -> None:
    for name, side in sides_of(load_folder(data)).items():
        if side == "train" and name.startswith("dog"):
            (data / name).unlink()
    with pytest.raises(DatasetError, match="the class dog has no images to train on"):
        load_dataset(str(data), split_from=table)


@pytest.mark.parametrize("name", ["a\rb", 'a",b', "caf\udce9"])
def test_names_that_tables_quote(tmp_path: Path, name: str) -> None:
    data = add(add(tmp_path / name, "cat", range(9)), "dog", range(9))
    before = load_folder(data)
    write_table(before, tmp_path / "split.csv")
    earlier = EarlierSplit.read(tmp_path / "split.csv")
    assert earlier.sha256 == before.split_sha256()
    assert load_folder(data, 1, earlier=earlier).split_sha256() == before.split_sha256()


def test_it_is_not_drawn_again(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Other commands refuse the split that they would draw, and accept the run's table."""
    write_table(load_folder(images), tmp_path / "split.csv")
    data = Path(shutil.copytree(images, tmp_path / images.name))
    shutil.copy(images / "checks" / "00.jpg", data / "checks" / "new.jpg")
    dataset = load_dataset(str(data), seed=1, split_from=tmp_path / "split.csv")
    training = artifact.manifest.training | {
        "seed": 1, "split_method": "earlier", "split_sha256": dataset.split_sha256()
    }  # fmt: skip
    trained = replace(artifact, manifest=artifact.manifest.model_copy(update={"training": training}))
    again = load_training_dataset(trained, str(data), None)
    with pytest.raises(DatasetError, match=r"is split differently .* use the split of its run, --data .*/split\.csv"):
        check_training_data(trained, again, str(data))
    write_table(dataset, tmp_path / "second.csv")
    check_training_data(trained, load_training_dataset(trained, str(tmp_path / "second.csv"), None), "second.csv")
