"""Labeled images in three parts, as `training.data.folders` and `archives` find them, and how a split is drawn."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from model.artifacts.artifact import Label

NAMED = ("elpv", "grocery", "cifar10")
PARTS = ("train", "validation", "test")


class Account(BaseModel):
    """What a table of a data set's images doesn't say, in a file beside it (see `Dataset`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    split: str
    license: str
    labels: tuple[Label, ...]
    groupings: dict[str, tuple[str, ...]] = {}
    upright: bool = True


class Example(NamedTuple):
    """One image file and the index of its class. The path is text: a million `Path` objects are a gigabyte."""

    file: str
    label: int

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True)
class Dataset:
    """Images in three parts. `validation` steers the learning rate; `test` is measured once, at the end.

    `groupings` names coarser classes: grouping -> the group of each class, in the order of `labels`. `upright`: the
    images have an up, as photographs do.
    """

    name: str
    split: str
    license: str
    labels: tuple[Label, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    groupings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upright: bool = True

    @property
    def examples(self) -> tuple[Example, ...]:
        """All images: train, then validation, then test."""
        return self.train + self.validation + self.test

    def parts(self) -> dict[str, tuple[Example, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def split_sha256(self) -> str:
        """Changes when an image is added, removed, renamed, or changes its part or class; names no folder."""
        lines = sorted(
            f"{part}\t{self.labels[e.label].id}\t{e.path.name}" for part, es in self.parts().items() for e in es
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def account(self) -> Account:
        """All but the images."""
        return Account(**{name: getattr(self, name) for name in Account.model_fields})

    def split_csv(self) -> str:
        """The split as a table that `--data` takes back: path, label, part."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("path", "label", "part"))
        for part, examples in self.parts().items():
            writer.writerows((Path(e.file).absolute(), self.labels[e.label].id, part) for e in examples)
        return text.getvalue()


def split_names(split: str) -> list[tuple[str, ...]]:
    """The rows of a split's table without the folders, which may have moved."""
    return [(Path(path).name, *rest) for path, *rest in csv.reader(split.splitlines())]


def load(data: str, seed: int = 0, archive: Path | None = None) -> Dataset:
    """One of `NAMED` (`archive`: the file it comes in), a CSV table, or a folder. Raises DatasetError."""
    from training.data import archives, folders

    if data in NAMED:
        return archives.named(data, archive)
    return folders.table(Path(data), seed) if data.endswith(".csv") else folders.folder(Path(data), seed)


def stratified(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> dict[str, list[Example]]:
    """Split class by class. `shares` of each class, at least one image where it has three, go to the named parts in
    their order; the rest is `train`."""
    generator = np.random.default_rng(seed)
    members: dict[int, list[Example]] = {}
    for example in examples:
        members.setdefault(example.label, []).append(example)
    parts: dict[str, list[Example]] = {"train": [], **{part: [] for part in shares}}
    for label in sorted(members):
        order = [members[label][i] for i in generator.permutation(len(members[label]))]
        total = len(order)
        for part, share in shares.items():
            count = max(1, round(share * total)) if total >= 3 else 0
            parts[part] += order[:count]
            order = order[count:]
        parts["train"] += order
    return parts
