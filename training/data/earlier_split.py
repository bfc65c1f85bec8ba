"""The split of an earlier run, which its images keep (`--split-from`): only images added since are drawn."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.artifacts.artifact import Label
from model.artifacts.held_out import Split
from model.datasets.names import SPLITS, common_folder, show_path
from model.exceptions import DatasetError
from model.plurals import count_of
from training.data.copies import draw_split
from training.data.datasets import Example, checksum_of_split, find_split_problem

EARLIER = "earlier"
"""The `split_method` in the manifest of a network that was trained on such a split."""
COLUMNS = ["path", "label", "split"]
"""The first columns of a run's table."""
RENAMED = (
    "with --split-from, an image that was renamed or moved to another class counts as one removed and one new "
    "image: if there are any, the earlier network may have been trained on images that are held out now"
)


@dataclass(frozen=True)
class EarlierSplit:
    """Which image was in which split.

    `name`: that of the table with its folder, for descriptions. `splits`: absolute path -> split. `sha256`:
    `Dataset.split_sha256` of that run. `kept`: checksums of still earlier splits that it kept.
    """

    name: str
    splits: Mapping[str, str]
    sha256: str
    kept: tuple[str, ...] = ()

    @classmethod
    def read(cls, table: Path) -> EarlierSplit:
        """Read what `Dataset.split_csv` wrote to a file; the images needn't exist. Raises DatasetError."""
        try:
            text = table.read_bytes().decode("utf-8", "surrogateescape")  # paths as they are on the disk
            header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        except OSError as error:
            raise DatasetError(f"can't read the split {table}: {error.strerror}; --split-from takes a run") from error
        except (ValueError, csv.Error):
            header, rows = [], []
        if header[:3] != COLUMNS or not rows or any(len(row) < 3 or row[2] not in SPLITS for row in rows):
            raise DatasetError(f"{table} is not the split of a run: --split-from takes a run's folder or its split.csv")
        return cls(
            name=show_path(Path(*table.absolute().parts[-2:])),
            splits={_absolute(table.parent / path): split for path, _, split, *_ in rows},
            sha256=checksum_of_split((split, label, Path(path).name) for path, label, split, *_ in rows),
        )

    def extend(
        self, examples: Sequence[Example], labels: Sequence[Label], shares: Mapping[str, float], seed: int
    ) -> tuple[dict[str, list[Example]], str, tuple[str, ...]]:
        """The split of `examples`, in their order; a description of how it was made; and notes on what to beware of.

        Images of the earlier split keep their split. The others are drawn so that each class comes as near to the
        `shares` as they allow (`training.data.datasets.stratified_split`). Raises DatasetError if no image is in the
        earlier split, if a class has no training images, or if nothing is held out.
        """
        kept = self._find(examples)
        if not kept:
            raise DatasetError(
                f"none of the images are in {self.name}: give --split-from a run on an earlier version of this data, "
                "or leave it out"
            )
        places = {example.file: place for place, example in enumerate(examples)}
        drawn = draw_split(examples, shares, seed, kept)
        splits = {split: sorted(part, key=lambda example: places[example.file]) for split, part in drawn.items()}
        if lack := find_split_problem(splits, labels):
            raise DatasetError(f"too few images for --split-from {self.name}: {lack}; add images, or leave it out")
        num_new, num_gone = len(examples) - len(kept), len(self.splits) - len(kept)
        drawn_words = f"{count_of(num_new, 'new one', 'new ones')} drawn, {num_gone:,} gone"
        notes = (RENAMED,) if num_new and num_gone else ()
        return splits, f"{count_of(len(kept), 'image')} as in {self.name}, {drawn_words}", notes

    def _find(self, examples: Sequence[Example]) -> dict[int, str]:
        """Place -> split, for the examples that are in the earlier split.

        They are found by their paths or, if none of these is known because the data was moved or copied, by their paths
        relative to the folder that holds all of them.
        """
        paths = [_absolute(example.file) for example in examples]
        splits = self.splits
        if splits.keys().isdisjoint(paths):
            splits = dict(zip(_below_common_folder(splits), splits.values(), strict=True))
            paths = _below_common_folder(paths)
        return {place: splits[path] for place, path in enumerate(paths) if path in splits}


def split_advice(ancestors: Iterable[Split], dataset: str) -> str:
    """How to measure a trustworthy error if `model.artifacts.held_out.other_splits` returns any."""
    other = "start from another network, such as --init-from photos"
    if len({split for name, split in ancestors if name == dataset}) > 1:
        return other
    return f"keep that network's split with --split-from and the folder of its run, or {other}"


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # without `..`, as tables may have it


def _below_common_folder(paths: Iterable[str]) -> list[str]:
    """Absolute paths, relative to the folder that holds them all."""
    files = list(paths)
    folder = common_folder(files)
    return [os.path.relpath(file, folder) for file in files]
