"""Labelled pictures: the ELPV solar cells that pip brings, or a folder with one subfolder a class."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.artifact import Label
from model.errors import DatasetError

ELPV_SPLIT = Path(__file__).parent / "splits" / "elpv.csv"
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Example:
    """One picture file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Dataset:
    """Pictures in three parts. `validation` steers the learning rate; `test` is measured once, at the end.

    `groupings` names coarser classes: grouping -> the group of each class, in the order of `labels`. `upright`: the
    pictures have an up, as photographs do.
    """

    name: str
    split: str
    licence: str
    labels: tuple[Label, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    groupings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upright: bool = True

    @property
    def examples(self) -> tuple[Example, ...]:
        """All pictures: train, then validation, then test."""
        return self.train + self.validation + self.test

    def parts(self) -> dict[str, tuple[Example, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def split_sha256(self) -> str:
        """Changes when a picture is added, removed, renamed, or changes its part or class; names no folder."""
        lines = sorted(
            f"{part}\t{self.labels[e.label].id}\t{e.path.name}" for part, es in self.parts().items() for e in es
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(data: str, seed: int = 0) -> Dataset:
    """`elpv`, or the path of a folder. Raises DatasetError."""
    return elpv() if data == "elpv" else folder(Path(data), seed)


def elpv() -> Dataset:
    """2,624 solar cells, four defect probabilities x two types: 8 classes (CC BY-NC-SA 4.0).

    The split is the file `training/splits/elpv.csv`, made by `stratified` with seed 0: 75 % to train (a tenth of them
    for validation) and 25 % to test, the shares of Deitsch et al. 2019.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DatasetError("expected the package elpv-dataset, found none: pip install -e '.[cpu,demo]'")
    root = Path(spec.origin).parent / "data"
    kinds = [(cell, percent) for cell in ("mono", "poly") for percent in (0, 33, 67, 100)]
    index = {kind: position for position, kind in enumerate(kinds)}
    label_of = {}
    for line in (root / "labels.csv").read_text().splitlines():
        path, probability, cell = line.split()
        label_of[path] = index[cell, round(100 * float(probability))]
    with ELPV_SPLIT.open(newline="") as file:
        part_of = {row["path"]: row["part"] for row in csv.DictReader(file)}
    if set(part_of) != set(label_of):
        raise DatasetError(f"expected the {len(part_of):,} pictures of {ELPV_SPLIT.name}, found other ones in {root}")
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for path, label in label_of.items():
        parts[part_of[path]].append(Example(root / path, label))
    return Dataset(
        name="elpv",
        split="elpv 75/25, seed 0",
        licence="CC BY-NC-SA 4.0 (trained on ELPV, non-commercial, share alike)",
        labels=tuple(Label(id=f"{cell}-{percent}", name=f"{cell}, defect {percent} %") for cell, percent in kinds),
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        groupings={
            "functional or defective": tuple("defective" if p > 50 else "functional" for _, p in kinds),
            "cell type": tuple(cell for cell, _ in kinds),
        },
        upright=False,
    )


def folder(root: Path, seed: int = 0) -> Dataset:
    """A folder of pictures: `root/CLASS/*`, or `root/train/CLASS/*` with `val` and perhaps `test` beside `train`.

    Without given parts, a seeded tenth of each class is held out for validation and 15 % for test; with `train` but no
    `val`, a tenth of `train`.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder with one subfolder a class, found no folder at {root}")
    subfolders = _subfolders(root)
    given = {SPLIT_FOLDERS[path.name]: path for path in subfolders if path.name in SPLIT_FOLDERS}
    if "train" in given:
        if {"val", "validation"} <= {path.name for path in subfolders}:
            raise DatasetError(f"expected one of val and validation in {root}, found both")
        names = [path.name for path in _subfolders(given["train"])]
        parts = {part: _listed(path, names) for part, path in given.items()}
        _check(given["train"], names, parts["train"])
        split = f"{root.name}, its own parts"
        if "validation" not in parts:
            parts |= stratified(parts["train"], {"validation": 0.10}, seed)
            split += f", a tenth of train for validation, seed {seed}"
    else:
        names = [path.name for path in subfolders]
        everything = _listed(root, names)
        _check(root, names, everything)
        parts = stratified(everything, {"test": 0.15, "validation": 0.10}, seed)
        split = f"{root.name} 75/10/15, seed {seed}"
    if not parts["validation"]:
        raise DatasetError(f"expected at least three pictures in some class of {root}, found too few to hold one out")
    return Dataset(
        name=root.resolve().name,
        split=split,
        licence="that of the pictures it was trained on",
        labels=tuple(Label(id=name, name=name.replace("_", " ")) for name in names),
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts.get("test", ())),
    )


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _listed(root: Path, names: list[str]) -> list[Example]:
    """Every visible file below `root/CLASS`; whether it is a picture is found out when it is read."""
    found = []
    for label, name in enumerate(names):
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
                found.append(Example(path, label))
    return found


def _check(root: Path, names: list[str], examples: list[Example]) -> None:
    if not names:
        raise DatasetError(f"expected one subfolder a class in {root}, found no subfolder")
    if len(names) == 1:
        raise DatasetError(f"expected at least two classes in {root}, found one: {names[0]}")
    empty = set(range(len(names))) - {example.label for example in examples}
    if empty:
        listed = ", ".join(names[label] for label in sorted(empty)[:5])
        raise DatasetError(f"expected pictures in every class of {root}, found {len(empty)} empty: {listed}")


def stratified(examples: list[Example], shares: Mapping[str, float], seed: int) -> dict[str, list[Example]]:
    """Split class by class. `shares` of each class, at least one picture where it has three, go to the named parts in
    their order; the rest is `train`."""
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Example]] = {"train": [], **{part: [] for part in shares}}
    for label in sorted({example.label for example in examples}):
        members = [example for example in examples if example.label == label]
        order = [members[i] for i in generator.permutation(len(members))]
        for part, share in shares.items():
            count = max(1, round(share * len(members))) if len(members) >= 3 else 0
            parts[part] += order[:count]
            order = order[count:]
        parts["train"] += order
    return parts
