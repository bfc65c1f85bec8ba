"""A user's own images: a folder with one subfolder a class, ImageNet's layout, or a CSV table."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from model.artifacts.artifact import Label
from model.exceptions import DatasetError
from training.data.datasets import NAMED, PARTS, Account, Dataset, Example, stratified

ABOUT = ".about.json"
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
SYNSET_LISTS = ("synset_words.txt", "LOC_synset_mapping.txt")
"""Lines of "n01440764 tench, Tinca tinca": names for people, as ImageNet brings them."""
VALIDATION_LIST = "LOC_val_solution.csv"
"""The classes of ImageNet's validation images where these are all in one folder: lines of "ID,n01440764 1 2 3 4"."""
OWN_LICENSE = "that of the images it was trained on"


def folder(root: Path, seed: int = 0) -> Dataset:
    """A folder of images: `root/CLASS/*`, or `root/train/CLASS/*` with `val` and perhaps `test` beside `train`.

    Without given parts, a seeded tenth of each class is held out for validation and 15 % for test; with `train` but no
    `val`, a tenth of `train`. ImageNet's lists of synsets and of validation classes are used where they are in `root`.
    """
    if not root.is_dir():
        known = f"a .csv file, or one of {', '.join(NAMED)}"
        raise DatasetError(f"expected a folder with one subfolder a class, {known}, found no folder at {root}")
    subfolders = _subfolders(root)
    given = {SPLIT_FOLDERS[path.name]: path for path in subfolders if path.name in SPLIT_FOLDERS}
    if "train" in given:
        if {"val", "validation"} <= {path.name for path in subfolders}:
            raise DatasetError(f"expected one of val and validation in {root}, found both")
        names = [path.name for path in _subfolders(given["train"])]
        parts = {part: _listed(path, names) for part, path in given.items()}
        if not parts.get("validation") and (root / VALIDATION_LIST).is_file() and "validation" in given:
            parts["validation"] = _by_list(root / VALIDATION_LIST, given["validation"], names)
        for part, path in given.items():
            _check_part(path, names, parts[part])
        split = f"{root.name}, its own parts"
    else:
        names = [path.name for path in subfolders]
        parts = stratified(_listed(root, names), {"test": 0.15, "validation": 0.10}, seed)
        split = f"{root.name} 75/10/15, seed {seed}"
    return _dataset(root, names, parts, split, seed)


def table(path: Path, seed: int = 0) -> Dataset:
    """A CSV file with the columns `path` and `label` (or `class`), and perhaps `part`; paths are relative to the file.

    `part` is train, val (or validation) or test; without it the split is drawn as for a folder. A run's `split.csv` is
    such a table; from `split.about.json` beside it come the names and the order of the classes, the license and the
    rest of `training.data.datasets.Account`.
    """
    if not path.is_file():
        raise DatasetError(f"expected a table of images, found no file at {path}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = set(rows[0]) if rows else set()
    label_column = "label" if "label" in columns else "class"
    if not {"path", label_column} <= columns:
        raise DatasetError(f"expected a table with columns path and label in {path}, found: {', '.join(columns) or 0}")
    account = _account(path.with_suffix(ABOUT))
    names = sorted({row[label_column] or "" for row in rows}, key=_class_order)
    if account is not None:
        _require_known(path, names, known := [label.id for label in account.labels])
        names = known
    index = {name: label for label, name in enumerate(names)}
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for number, row in enumerate(rows, start=2):
        part = SPLIT_FOLDERS.get(row.get("part") or "train")
        if not row["path"] or not row[label_column] or part is None or None in row:
            raise DatasetError(
                f"expected a path, a label and one of {', '.join(SPLIT_FOLDERS)} in {path}, line {number}"
            )
        parts[part].append(Example(str(path.parent / row["path"]), index[row[label_column]]))
    split = f"{path.name}, its own parts"
    if "part" not in columns:
        parts = stratified(parts["train"], {"test": 0.15, "validation": 0.10}, seed)
        split = f"{path.name} 75/10/15, seed {seed}"
    dataset = _dataset(path, names, parts, split, seed)
    return dataset if account is None else replace(dataset, **dict(account))


def _account(path: Path) -> Account | None:
    if not path.is_file():
        return None
    try:
        return Account.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise DatasetError(f"expected an account of the images in {path}, found: {problem}") from error


def _require_known(path: Path, names: list[str], known: list[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DatasetError(f"expected the classes of {path.with_suffix(ABOUT)} in {path}, found also {unknown[0]!r}")


def _class_order(name: str) -> tuple[bool, int, str]:
    """Numbers by value, then words as folders are sorted."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name


def _dataset(root: Path, names: list[str], parts: dict[str, list[Example]], split: str, seed: int) -> Dataset:
    _check(root, names, parts["train"])
    if not parts.get("validation"):
        parts |= stratified(parts["train"], {"validation": 0.10}, seed)
        split += f", a tenth of train for validation, seed {seed}"
    if not parts["validation"]:
        raise DatasetError(f"expected at least three images in some class of {root}, found too few to hold one out")
    described = _synsets(root)
    return Dataset(
        name=root.resolve().stem,
        split=split,
        license=OWN_LICENSE,
        labels=tuple(Label(id=name, name=described.get(name, name.replace("_", " "))) for name in names),
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts.get("test", ())),
    )


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_part(root: Path, names: list[str], found: list[Example]) -> None:
    """A part that is there but doesn't fit must not be left out without a word."""
    unknown = [path.name for path in _subfolders(root) if path.name not in names]
    if unknown:
        raise DatasetError(f"expected the classes of the train folder in {root}, found also {', '.join(unknown[:5])}")
    if not found and any(not path.name.startswith(".") and path.is_file() for path in root.iterdir()):
        raise DatasetError(
            f"expected one subfolder a class in {root}, or {VALIDATION_LIST} beside it, found files alone"
        )


def _listed(root: Path, names: list[str]) -> list[Example]:
    """Every visible file below `root/CLASS`; whether it is an image is found out when it is read."""
    found = []
    for label, name in enumerate(names):
        files = []
        for folder, inner, contents in os.walk(root / name, followlinks=True):
            inner[:] = [directory for directory in inner if not directory.startswith(".")]
            files += [f"{folder}{os.sep}{file}" for file in contents if not file.startswith(".")]
        found += [Example(file, label) for file in sorted(files, key=lambda file: Path(file).parts)]
    return found


def _by_list(listing: Path, root: Path, names: list[str]) -> list[Example]:
    index = {name: label for label, name in enumerate(names)}
    found = []
    with listing.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["PredictionString"].split()[0]
            if name not in index:
                raise DatasetError(f"expected classes of the train folder in {listing}, found {name}")
            found.append(Example(str(root / f"{row['ImageId']}.JPEG"), index[name]))
    return found


def _synsets(root: Path) -> dict[str, str]:
    for name in SYNSET_LISTS:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return {words[0]: words[2] for words in (line.partition(" ") for line in lines) if words[2]}
    return {}


def _check(root: Path, names: list[str], examples: list[Example]) -> None:
    if not names:
        raise DatasetError(f"expected one subfolder a class in {root}, found no subfolder")
    if len(names) == 1:
        raise DatasetError(f"expected at least two classes in {root}, found one: {names[0]}")
    empty = set(range(len(names))) - {example.label for example in examples}
    if empty:
        listed = ", ".join(names[label] for label in sorted(empty)[:5])
        raise DatasetError(f"expected images in every class of {root}, found {len(empty)} empty: {listed}")
