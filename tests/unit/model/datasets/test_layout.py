"""Layouts of folders as people have them: splits in all spellings, classes called like splits, and refused mixtures."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from model.datasets.classes import find_doubtful_classes
from model.datasets.listing import Listing, Skipped
from model.datasets.names import parse_split
from model.exceptions import DatasetError
from tests.helpers.listings import read_images


def make(root: Path, counts: dict[str, int]) -> Path:
    root.mkdir()
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.png").write_bytes(b"x")
    return root


def count(listing: Listing) -> dict[tuple[str | None, str | None], int]:
    """Number of images by split and label."""
    return Counter((entry.split, entry.label) for entry in listing.entries)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("TRAIN_SET", "train"), ("train2017", "train"),
        ("val", "validation"), ("Valid", "validation"), ("validation", "validation"), ("dev", "validation"),
        ("test", "test"), ("Testing", "test"), ("test images", "test"), (" Test ", "test"),
        ("trainer", None), ("tested", None), ("value", None), ("device", None), ("cat", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_splits(name: str, split: str | None) -> None:
    assert parse_split(name) == split


def test_splits_in_their_usual_spellings(tmp_path: Path) -> None:
    robo = make(tmp_path / "r", {f"{split}/{c}": 2 for split in ("train", "valid", "test") for c in ("cat", "dog")})
    expected = {(split, label): 2 for split in ("train", "validation", "test") for label in ("cat", "dog")}
    assert count(read_images(robo)) == expected
    kaggle = make(tmp_path / "k", {f"{split}/{c}": 2 for split in ("Training", "Testing") for c in ("glioma", "none")})
    listing = read_images(kaggle)
    assert [label.id for label in listing.classes] == ["glioma", "none"]
    assert Counter(entry.split for entry in listing.entries) == {"train": 4, "test": 4}
    assert "Training read as train" in listing.notes


def test_a_class_called_like_a_split(tmp_path: Path) -> None:
    listing = read_images(make(tmp_path / "v", {"bus": 2, "car": 2, "train": 2}))
    assert count(listing) == {(None, "bus"): 2, (None, "car"): 2, (None, "train"): 2}
    assert any("train treated as a class" in note for note in listing.notes)
    assert not any("in subfolders" in note for note in listing.notes)
    assert count(read_images(make(tmp_path / "q", {"good": 2, "test": 2}))) == {(None, "good"): 2, (None, "test"): 2}
    nested = read_images(make(tmp_path / "n", {"road/bus": 1, "road/train": 1, "animals/cat": 1}))
    assert count(nested) == {(None, "road"): 2, (None, "animals"): 1}
    assert any("road/bus, road/train" in note for note in nested.notes)
    for name, folders in (("b", ("train", "bus/old", "car")), ("c", ("cat/train/old", "cat/test", "dog/train"))):
        deeper = read_images(make(tmp_path / name, dict.fromkeys(folders, 2)))
        assert any("images in subfolders belong to the class above: " in note for note in deeper.notes), name


def test_splits_without_classes(tmp_path: Path) -> None:
    listing = read_images(make(tmp_path / "d", {"train": 3, "test": 2}))
    assert count(listing) == {("train", None): 3, ("test", None): 2}
    assert any("treated as splits without classes" in note for note in listing.notes)


def test_splits_in_each_class(tmp_path: Path) -> None:
    listing = read_images(make(tmp_path / "d", {"cat/train": 2, "cat/test": 1, "dog/train": 2, "dog/test/day": 1}))
    assert count(listing) == {("train", "cat"): 2, ("test", "cat"): 1, ("train", "dog"): 2, ("test", "dog"): 1}
    assert [entry.group for entry in listing.entries] == ["", "", "", "day", "", ""]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train/cat", "val/cat", "extra"], "train, val with subfolders, as splits have, next to extra"),
        (["train/cat", "Train/cat"], "contains both"),
        (["train/cat", "val/cat", "valid/cat"], "contains both val"),
        (["bottle/train/good", "bottle/test/broken", "bottle/ground_truth/broken"], "bottle/ground_truth, bottle/test"),
        (["cat/train", "cat/test", "dog"], "cat/test, cat/train, some of which are named like splits"),
        (["data/train/cat", "data/test/cat"], "holds one folder, data, which has splits"),
        (["cat/train", "cat/training", "dog/train"], "several folders for one split: train, training"),
    ],
)
def test_unknown_mixtures_are_refused_with_what_was_seen(tmp_path: Path, folders: list[str], message: str) -> None:
    root = make(tmp_path / "d", dict.fromkeys(folders, 2))
    with pytest.raises(DatasetError, match=message):
        read_images(root)


def test_a_mixture_is_read_without_what_is_excluded(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"train/cat": 2, "val/cat": 1, "extra": 3})
    assert count(read_images(root, ["extra"])) == {("train", "cat"): 2, ("validation", "cat"): 1}


def test_nested_folders_belong_to_the_class_above(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"cat": 1, "cat/2019/may": 2, "dog": 1})
    (root / "cover.png").write_bytes(b"x")
    listing = read_images(root)
    assert count(listing) == {(None, "cat"): 3, (None, "dog"): 1, (None, None): 1}
    assert [entry.group for entry in listing.entries] == ["", "2019/may", "2019/may", "", ""]
    assert listing.summary().notes[-1] == "images without a class: 1, such as cover.png"
    assert listing.summary([Skipped(f"{root}/cover.png", "damaged images")]).notes == listing.notes
    single = read_images(make(tmp_path / "s", {"pets/cat": 2, "pets/dog": 2}))
    assert any("only one class, pets: if its subfolders are the classes" in note for note in single.notes)
    split = read_images(make(tmp_path / "t", {"train/pets/cat": 2, "train/pets/dog": 2, "val/pets": 1, "val/cars": 1}))
    note = "images in subfolders belong to the class above: train/pets/cat, train/pets/dog"
    assert note in split.notes


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"train/cat": 2, "val/cat": 1})
    for name in ("annotations/deep/a.xml", "train/cat/masks/b.txt", "train/notes/c.txt"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("x")
    listing = read_images(root)
    assert [label.id for label in listing.classes] == ["cat"]
    skipped = [(Path(entry.path).relative_to(root).as_posix(), entry.reason) for entry in listing.skipped]
    assert skipped == [(name, "folders without images") for name in ("annotations", "train/cat/masks", "train/notes")]


def test_labels_are_trimmed_in_one_form_and_kept_apart_where_they_differ(tmp_path: Path) -> None:
    names = ["café", unicodedata.normalize("NFD", "café"), "café ", "Café", os.fsdecode("cl\xe9".encode("cp1252"))]
    listing = read_images(make(tmp_path / "d", dict.fromkeys([*names, "red_fox", "red fox"], 2)))
    assert count(listing) == {
        (None, c): n for c, n in {"café": 6, "Café": 2, "clé": 2, "red_fox": 2, "red fox": 2}.items()
    }
    assert [label.name for label in listing.classes] == ["Café", "café", "clé", "red fox", "red_fox"]
    notes = " ".join(listing.notes)
    assert "aren't UTF-8 were read as cp1252 or cp437: clé" in notes
    assert "café (3 folders)" in notes
    assert "look alike: 'Café', 'café'" in notes
    assert "look alike: 'red fox', 'red_fox'" in notes


def test_old_zip_programs_write_names_in_cp437(tmp_path: Path) -> None:
    folder, undefined_in_cp1252 = os.fsdecode(b"M\x81nze"), b"M\x81nze".decode("latin-1")
    listing = read_images(make(tmp_path / "d", {folder: 2, "cat": 2}))
    assert [label.id for label in listing.classes] == ["Münze", "cat"]
    with pytest.raises(DatasetError, match=r"^M\\x81nze can't be a class: .*; rename its folder"):
        read_images(make(tmp_path / "control", {undefined_in_cp1252: 2, "cat": 2}))


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["1", "01", "1.0", "10"], "the same numeric value: 01, 1, 1.0"),
        (["100", "1", "10.5", "ten"], ""),
        (["cat", "dog", "cat, dog", "dog|cat"], "look like several labels: cat, dog, dog|cat"),
        (["cat", "cat|cow", "red fox", "red", "fox"], ""),
        (["cat", "nan", "None"], "may mean a missing label: None, nan"),
    ],
)
def test_doubtful_classes_are_named(classes: list[str], said: str) -> None:
    notes = find_doubtful_classes(classes)
    assert (len(notes), said in "".join(notes)) == (bool(said), True)


@pytest.mark.parametrize("folders", [("Testdaten", "Trainingsdaten"), ("fold_0", "fold_1", "fold_2")])
def test_splits_in_another_language_and_folds_are_named(tmp_path: Path, folders: tuple[str, ...]) -> None:
    counts = {f"{folder}/{label}": 2 for folder in folders for label in ("cat", "dog")}
    listing = read_images(make(tmp_path / "d", counts))
    assert [label.id for label in listing.classes] == list(folders)
    assert f"{', '.join(folders)} all have the subfolders cat, dog: if those are the classes" in listing.notes[-1]
    years = read_images(make(tmp_path / "years", {"cat/2019": 1, "cat/2020": 1, "dog/2021": 1}))
    assert "all have the subfolders" not in "".join(years.notes)


@pytest.mark.parametrize("folder", ["", "train/"])
def test_a_class_that_is_a_link_is_not_missed_silently(tmp_path: Path, folder: str) -> None:
    root = make(tmp_path / "d", {f"{folder}cat": 2, f"{folder}cow": 2})
    (root / folder / "dog").symlink_to("/not/mounted/dog")
    (root / folder / "ox").symlink_to("cow")
    (root / folder / "cat" / "lost").symlink_to("/not/mounted/lost")
    (root / folder / "cover.png").symlink_to("/not/mounted/cover.png")
    assert read_images(root).notes[-1] == (
        f"not read, but possibly a class or a split: {folder}dog (a broken link: is its disk mounted?), "
        f"{folder}ox (a link to a folder already read)"
    )


def test_tables_in_the_folder_are_named(tmp_path: Path) -> None:
    root = make(tmp_path / "d", {"img": 3})
    (root / "train.csv").write_text("image,label\n")
    assert "tables that weren't read: train.csv; to take labels from one" in read_images(root).notes[-1]


def test_classes_are_ordered_by_number_then_by_name(tmp_path: Path) -> None:
    listing = read_images(make(tmp_path / "d", dict.fromkeys(["10", "9", "b", "a"], 1)))
    assert [label.id for label in listing.classes] == ["9", "10", "a", "b"]


def test_the_summary_counts_what_was_found_and_why_it_is_not_used(tmp_path: Path) -> None:
    root = make(tmp_path / "pets", {"train/cat": 2, "val/cat": 1, "train/dog": 3, ".hidden": 1})
    (root / "train" / "dog" / "gone.png").symlink_to("nowhere.png")
    text = str(read_images(root).summary())
    assert text.splitlines()[:2] == [
        "pets: 8 found, 6 used, 2 skipped (1 hidden, 1 broken link)",
        "  2 classes; 5 train, 1 validation",
    ]
    assert str(read_images(make(tmp_path / "flat", {"": 2})).summary()).splitlines()[1] == "  no labels"


def test_neither_folder_nor_table(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="neither a folder nor a table"):
        read_images(tmp_path / "photos.zip")
    with pytest.raises(DatasetError, match=r"doesn't accept URLs: download the images"):
        read_images(Path("https://example.org/photos"))
    with pytest.raises(DatasetError, match=r"no folder at .*a \.csv file"):
        read_images(tmp_path / "photos")
