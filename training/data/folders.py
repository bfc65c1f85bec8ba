"""A user's own images: a folder with one subfolder per class, ImageNet's layout, or a CSV table."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from model.artifacts.artifact import Label
from model.exceptions import DatasetError
from model.files import atomic_write
from training.data.datasets import SPLITS, Dataset, DatasetInfo, Example, stratified_split

INFO_SUFFIX = ".info.json"
SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
SYNSET_LISTS = ("synset_words.txt", "LOC_synset_mapping.txt")
"""Lines of "n01440764 tench, Tinca tinca": class names, as ImageNet has them."""
VALIDATION_LIST = "LOC_val_solution.csv"
"""Classes of ImageNet's validation images where they are all in one folder: lines of "ID,n01440764 1 2 3 4"."""
LICENSE = "that of the images it was trained on"


def load_folder(root: Path, seed: int = 0) -> Dataset:
    """A folder of images: `root/CLASS/*`, or `root/train/CLASS/*` with `val` and optionally `test` beside `train`.

    Without these, 15 % of each class are drawn for test and 10 % for validation; with `train` but no `val`, a tenth of
    `train`. ImageNet's lists of synsets and of validation classes are used if they are in `root`. Raises DatasetError.
    """
    if not root.is_dir():
        raise DatasetError(
            f"no folder at {root}: --data takes a folder with one subfolder per class, a .csv file, or elpv, grocery "
            "or cifar10"
        )
    subfolders = _subfolders(root)
    given = {SPLIT_NAMES[path.name]: path for path in subfolders if path.name in SPLIT_NAMES}
    if "train" in given:
        if {"val", "validation"} <= {path.name for path in subfolders}:
            raise DatasetError(f"{root} contains both val and validation: keep one of them")
        names = [path.name for path in _subfolders(given["train"])]
        splits = {split: _list_images(path, names) for split, path in given.items()}
        if not splits.get("validation") and (root / VALIDATION_LIST).is_file() and "validation" in given:
            splits["validation"] = _read_validation_list(root / VALIDATION_LIST, given["validation"], names)
        for split, path in given.items():
            _check_split_folder(path, names, splits[split])
        description = f"{root.name}, its own splits"
    else:
        names = [path.name for path in subfolders]
        splits = stratified_split(_list_images(root, names), {"test": 0.15, "validation": 0.10}, seed)
        description = f"{root.name} 75/10/15, seed {seed}"
    return _make_dataset(root, names, splits, description, seed)


def load_table(path: Path, seed: int = 0) -> Dataset:
    """A CSV file with the columns `path` and `label` (or `class`), and optionally `split`; paths are relative to it.

    `split` is train, val (or validation) or test; without it the split is drawn as for a folder. A run's `split.csv` is
    such a table; `split.info.json` beside it (`DatasetInfo`) adds the names and the order of the classes, the license
    and the rest. Raises DatasetError.
    """
    if not path.is_file():
        raise DatasetError(f"no file at {path}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = set(rows[0]) if rows else set()
    label_column = "label" if "label" in columns else "class"
    if not {"path", label_column} <= columns:
        raise DatasetError(f"expected the columns path and label in {path}, got {', '.join(columns) or 'none'}")
    if "part" in columns:
        raise DatasetError(f"unknown column part in {path}: the column with train, val or test is named split")
    info = _read_info(path.with_suffix(INFO_SUFFIX))
    names = sorted({row[label_column] or "" for row in rows}, key=_class_order)
    if info is not None:
        known = [label.id for label in info.labels]
        _check_classes(path, names, known)
        names = known
    index = {name: label for label, name in enumerate(names)}
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for number, row in enumerate(rows, start=2):
        split = SPLIT_NAMES.get(row.get("split") or "train")
        if not row["path"] or not row[label_column] or split is None or None in row:
            raise DatasetError(
                f"invalid line {number} of {path}: it needs a path, a label and one of {', '.join(SPLIT_NAMES)}"
            )
        splits[split].append(Example(str(path.parent / row["path"]), index[row[label_column]]))
    description = f"{path.name}, its own splits"
    if "split" not in columns:
        splits = stratified_split(splits["train"], {"test": 0.15, "validation": 0.10}, seed)
        description = f"{path.name} 75/10/15, seed {seed}"
    dataset = _make_dataset(path, names, splits, description, seed)
    return dataset if info is None else replace(dataset, **dict(info))


def write_table(dataset: Dataset, path: Path) -> None:
    """Write what `load_table` reads: the table of a dataset, and its `DatasetInfo` beside it. Raises OSError."""
    with atomic_write(path) as file:
        file.write(dataset.split_csv())
    with atomic_write(path.with_suffix(INFO_SUFFIX)) as file:
        file.write(dataset.info().model_dump_json(indent=1) + "\n")


def _read_info(path: Path) -> DatasetInfo | None:
    if not path.is_file():
        return None
    try:
        return DatasetInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DatasetError(f"invalid dataset metadata in {path}: {error.errors()[0]['msg']}") from error


def _check_classes(path: Path, names: list[str], known: list[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DatasetError(f"unknown class {unknown[0]!r} in {path}: {path.with_suffix(INFO_SUFFIX)} doesn't list it")


def _class_order(name: str) -> tuple[bool, int, str]:
    """Numbers by value, then words as folders are sorted."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name


def _make_dataset(
    root: Path, names: list[str], splits: dict[str, list[Example]], description: str, seed: int
) -> Dataset:
    _check_training_images(root, names, splits["train"])
    if not splits.get("validation"):
        splits |= stratified_split(splits["train"], {"validation": 0.10}, seed)
        description += f", a tenth of train for validation, seed {seed}"
    if not splits["validation"]:
        raise DatasetError(f"too few images in {root} to hold one out: some class needs at least three images")
    synset_names = _read_synset_names(root)
    return Dataset(
        name=root.resolve().stem,
        split_description=description,
        license=LICENSE,
        labels=tuple(Label(id=name, name=synset_names.get(name, name.replace("_", " "))) for name in names),
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits.get("test", ())),
    )


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_split_folder(root: Path, names: list[str], examples: list[Example]) -> None:
    """A split's folder with other classes, or without subfolders, must not be left out silently."""
    unknown = [path.name for path in _subfolders(root) if path.name not in names]
    if unknown:
        raise DatasetError(f"unknown classes in {root}: {', '.join(unknown[:5])}; the train folder doesn't have them")
    if not examples and any(not path.name.startswith(".") and path.is_file() for path in root.iterdir()):
        raise DatasetError(
            f"no subfolders in {root}: put its images into one subfolder per class, or {VALIDATION_LIST} beside it"
        )


def _list_images(root: Path, names: list[str]) -> list[Example]:
    """Every visible file below `root/CLASS`; whether it is an image turns out when it is decoded."""
    examples = []
    for label, name in enumerate(names):
        files = []
        for folder, inner, contents in os.walk(root / name, followlinks=True):
            inner[:] = [directory for directory in inner if not directory.startswith(".")]
            files += [f"{folder}{os.sep}{file}" for file in contents if not file.startswith(".")]
        examples += [Example(file, label) for file in sorted(files, key=lambda file: Path(file).parts)]
    return examples


def _read_validation_list(listing: Path, root: Path, names: list[str]) -> list[Example]:
    index = {name: label for label, name in enumerate(names)}
    examples = []
    with listing.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["PredictionString"].split()[0]
            if name not in index:
                raise DatasetError(f"unknown class {name} in {listing}: the train folder doesn't have it")
            examples.append(Example(str(root / f"{row['ImageId']}.JPEG"), index[name]))
    return examples


def _read_synset_names(root: Path) -> dict[str, str]:
    for name in SYNSET_LISTS:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return {words[0]: words[2] for words in (line.partition(" ") for line in lines) if words[2]}
    return {}


def _check_training_images(root: Path, names: list[str], examples: list[Example]) -> None:
    if not names:
        raise DatasetError(f"no subfolders in {root}: put the images into one subfolder per class")
    if len(names) == 1:
        raise DatasetError(f"only one class in {root}, {names[0]}: at least two classes are needed")
    empty = set(range(len(names))) - {example.label for example in examples}
    if empty:
        listed = ", ".join(names[label] for label in sorted(empty)[:5])
        raise DatasetError(f"{len(empty)} classes of {root} have no images to train on: {listed}")
