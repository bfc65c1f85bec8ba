"""`Dataset`: labeled image files in three splits; and how a split is drawn. Readers: `training.data.loading`."""

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
from model.artifacts.names import PlainText
from model.datasets.listing import Skipped, Summary, count_reasons
from model.datasets.names import SPLITS


class DatasetInfo(BaseModel):
    """What a table of images doesn't hold, written to a JSON file beside it (see `Dataset`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: PlainText
    split_description: PlainText
    license: PlainText
    labels: tuple[Label, ...]
    groupings: dict[PlainText, tuple[str, ...]] = {}
    upright: bool = True


class Example(NamedTuple):
    """One image file and the index of its class. The path is a string: a million `Path` objects take a gigabyte.

    `group`: where the image is from, if the data says so; see `model.datasets.listing.ListedImage`.
    """

    file: str
    label: int
    group: str = ""

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True)
class Dataset:
    """Labeled images in three splits.

    `validation` steers the learning rate; `test` is measured once, at the end. `split_description`: how the images
    were split, for manifests and reports. `groupings`: coarser classes, grouping -> the group of each class in the
    order of `labels`. `upright`: whether images have a natural orientation, as photographs have; if not, training
    also rotates them. `skipped`, `notes`: what the reader left out, guessed and converted (`model.datasets.listing`).
    """

    name: str
    split_description: str
    license: str
    labels: tuple[Label, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    groupings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upright: bool = True
    skipped: tuple[Skipped, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All images: train, then validation, then test."""
        return self.train + self.validation + self.test

    def splits(self) -> dict[str, tuple[Example, ...]]:
        """Split name -> its images, in the order of `SPLITS`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def held_out_split(self) -> str:
        """The split that a network is measured on: test, or validation where there is no test split."""
        return "test" if self.test else "validation"

    def split_sha256(self) -> str:
        """Checksum of the split: changes when an image is added, removed, renamed, or changes its split or class.

        Folders don't count, since images may be moved.
        """
        lines = sorted(
            f"{split}\t{self.labels[example.label].id}\t{example.path.name}"
            for split, examples in self.splits().items()
            for example in examples
        )
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def summary(self, skipped: Mapping[int, Skipped] | None = None) -> Summary:
        """What was found, used and left out.

        `skipped`: what isn't used, by its place in `examples`; None if no image was read yet.
        """
        unreadable = skipped or {}
        starts = np.cumsum([0, *(len(examples) for examples in self.splits().values())])
        lost = np.histogram(list(unreadable), starts)[0] if unreadable else np.zeros(len(SPLITS), int)
        sizes = {split: len(examples) - int(lost[i]) for i, (split, examples) in enumerate(self.splits().items())}
        return Summary(
            name=self.name,
            num_used=sum(sizes.values()),
            skipped=count_reasons((*self.skipped, *unreadable.values())),
            classes=len(self.labels),
            splits={split: size for split, size in sizes.items() if size},
            notes=self.notes,
            are_read=skipped is not None,
        )

    def info(self) -> DatasetInfo:
        """Everything but the images."""
        return DatasetInfo(**{name: getattr(self, name) for name in DatasetInfo.model_fields})

    def split_csv(self) -> str:
        """The split as a CSV table that `--data` accepts: path, label, split, and group if any image has one."""
        text, has_groups = io.StringIO(), any(example.group for example in self.examples)
        # csv doesn't quote a carriage return, with which a name may end
        quote_all = any("\r" in example.file + example.group for example in self.examples)
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
        writer.writerow(("path", "label", "split", "group")[: 3 + has_groups])
        for split, examples in self.splits().items():
            for e in examples:
                row = (Path(e.file).absolute(), self.labels[e.label].id, split, e.group)
                writer.writerow(row[: 3 + has_groups])
        return text.getvalue()


def split_rows(split_csv: str) -> list[tuple[str, ...]]:
    """The rows of a split's table without folders, which may have moved."""
    return [(Path(path).name, *rest) for path, *rest in csv.reader(io.StringIO(split_csv, newline=""))]


def stratified_split(
    examples: Sequence[Example], shares: Mapping[str, float], seed: int, groups: Sequence[int] | None = None
) -> dict[str, list[Example]]:
    """Split class by class.

    `shares`: split -> its share of each class, at least one image where the class has three. The rest is `train`, at
    least one image, too. `groups`: images with the same number stay together and count as one of those three; a group
    with several labels is put into `train`.
    """
    generator = np.random.default_rng(seed)
    together: dict[int, list[Example]] = {}
    for example, group in zip(examples, groups or range(len(examples)), strict=True):
        together.setdefault(group, []).append(example)
    members: dict[int, list[list[Example]]] = {}
    splits: dict[str, list[Example]] = {"train": [], **{split: [] for split in shares}}
    for unit in together.values():
        if len({example.label for example in unit}) > 1:
            splits["train"] += unit
        else:
            members.setdefault(unit[0].label, []).append(unit)
    for label in sorted(members):
        order = [members[label][i] for i in generator.permutation(len(members[label]))]
        total, drawn = sum(map(len, order)), len(order) >= 3
        for num_later, (split, share) in zip(reversed(range(len(shares))), shares.items(), strict=True):
            taken, order = _take(order, max(1, round(share * total)) if drawn else 0, num_left=num_later + 1)
            splits[split] += taken
        splits["train"] += [example for unit in order for example in unit]
    return splits


def _take(order: list[list[Example]], count: int, num_left: int) -> tuple[list[Example], list[list[Example]]]:
    """About `count` examples from the first groups that fit, or one small group; and the groups that are left.

    At least `num_left` groups are left, for the other splits: one of a hundred copies leaves many groups that fit.
    """
    taken, rest = list[Example](), list[list[Example]]()
    for place, unit in enumerate(order):
        if len(taken) + len(unit) <= count and len(rest) + len(order) - place > num_left:
            taken += unit
        else:
            rest.append(unit)
    if count and not taken:
        taken = rest.pop(min(range(len(rest)), key=lambda i: len(rest[i])))
    return taken, rest
