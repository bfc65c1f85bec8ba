"""`Dataset`: labeled image files in three splits; and how a split is drawn. Readers: `training.data.loading`."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

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
    kept_splits: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_an_earlier_release(cls, values: Any) -> Any:
        """Accept `kept_split`: an earlier release stored only one split."""
        if not isinstance(values, dict) or "kept_split" not in values:
            return values
        others, kept = dict(values), values["kept_split"]
        del others["kept_split"]
        return others | {"kept_splits": (kept,) if kept else ()}


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
    also rotates them. `kept_splits`: checksums of the earlier splits that its images keep
    (`training.data.earlier_split`). `skipped`, `notes`: what the reader left out, guessed and converted
    (`model.datasets.listing`).
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
    kept_splits: tuple[str, ...] = ()
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
        """The split that a network is measured on: test, or validation if there is no test split."""
        return "test" if self.test else "validation"

    def split_sha256(self) -> str:
        """Checksum of the split: changes when an image is added, removed, renamed, or changes its split or class.

        Folders don't count, since images may be moved.
        """
        return checksum_of_split(
            (split, self.labels[example.label].id, example.path.name)
            for split, examples in self.splits().items()
            for example in examples
        )

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
        # csv doesn't quote carriage returns, which names may contain
        quote_all = any("\r" in example.file + example.group for example in self.examples)
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
        writer.writerow(("path", "label", "split", "group")[: 3 + has_groups])
        for split, examples in self.splits().items():
            for e in examples:
                row = (Path(e.file).absolute(), self.labels[e.label].id, split, e.group)
                writer.writerow(row[: 3 + has_groups])
        return text.getvalue()


def checksum_of_split(images: Iterable[tuple[str, str, str]]) -> str:
    """`Dataset.split_sha256` of images: split, label and file name of each, in any order."""
    lines = sorted(map("\t".join, images))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def split_rows(split_csv: str) -> list[tuple[str, ...]]:
    """The rows of a split's table without folders, which may have moved."""
    return [(Path(path).name, *rest) for path, *rest in csv.reader(io.StringIO(split_csv, newline=""))]


def find_split_problem(splits: Mapping[str, Sequence[Example]], labels: Sequence[Label]) -> str:
    """What a split lacks for training: images of a class, or a test or validation split; "" if it lacks nothing."""
    trained = {example.label for example in splits["train"]}
    missing = [label.id for number, label in enumerate(labels) if number not in trained]
    if missing:
        return f"the class {missing[0]} has no images to train on"
    return "" if all(splits.values()) else "nothing is left to hold out"


def stratified_split(
    examples: Sequence[Example],
    shares: Mapping[str, float],
    seed: int,
    groups: Sequence[int] | None = None,
    kept: Mapping[int, str] | None = None,
) -> dict[str, list[Example]]:
    """Split class by class.

    `shares`: split -> its share of each class, and at least one image if the class has three. The rest, at least one
    image, is `train`. `groups`: images with the same number stay together and count as one of those three; a group with
    several labels is put into `train`. `kept`: place -> split of images that aren't drawn but count toward their class;
    new images of their groups join them.
    """
    generator = np.random.default_rng(seed)
    kept = kept or {}
    together: dict[int, list[int]] = {}
    for place, group in enumerate(groups or range(len(examples))):
        together.setdefault(group, []).append(place)
    members: dict[int, list[list[Example]]] = {}
    splits: dict[str, list[Example]] = {"train": [], **{split: [] for split in shares}}
    for places in together.values():
        unit = [examples[place] for place in places]
        side = next((kept[place] for place in places if place in kept), None)
        if side is None and len({example.label for example in unit}) == 1:
            members.setdefault(unit[0].label, []).append(unit)
            continue
        for place in places:
            splits[kept.get(place, side or "train")].append(examples[place])
    settled = Counter((examples[place].label, split) for place, split in kept.items())
    for label in sorted(members):
        order = [members[label][i] for i in generator.permutation(len(members[label]))]
        has = {split: settled[label, split] for split in (*shares, "train")}
        for split, part in _draw(order, shares, has).items():
            splits[split] += part
    return splits


def _draw(order: list[list[Example]], shares: Mapping[str, float], has: Mapping[str, int]) -> dict[str, list[Example]]:
    """Distribute the groups of one class over the splits, one split after the other; `train` gets the rest.

    `has`: how many images of the class each split, `train` among them, keeps from an earlier split.
    """
    total, is_drawn = sum(map(len, order)) + sum(has.values()), len(order) + sum(has.values()) >= 3
    waiting = [split for split in has if not has[split]]
    drawn = dict[str, list[Example]]()
    for split, share in shares.items():
        if split in waiting:
            waiting.remove(split)
        count = max(1, round(share * total)) - has[split] if is_drawn else 0
        taken, order = _take(order, count, num_left=len(waiting))
        if is_drawn and not has[split] and not taken and len(order) > waiting.count("train"):
            taken = order.pop(min(range(len(order)), key=lambda i: len(order[i])))
        drawn[split] = taken
    return drawn | {"train": [example for unit in order for example in unit]}


def _take(order: list[list[Example]], count: int, num_left: int) -> tuple[list[Example], list[list[Example]]]:
    """At most `count` examples from the first groups that fit; and the remaining groups.

    At least `num_left` groups remain for the other splits: if one group has a hundred copies, all others might fit.
    """
    taken, rest = list[Example](), list[list[Example]]()
    for place, unit in enumerate(order):
        if len(taken) + len(unit) <= count and len(rest) + len(order) - place > num_left:
            taken += unit
        else:
            rest.append(unit)
    return taken, rest
