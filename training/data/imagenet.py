"""ImageNet's validation images in their standard layout: 50,000 files in one folder, or a folder a synset."""

from __future__ import annotations

import csv
from pathlib import Path

from model.artifacts.artifact import Label
from model.exceptions import DatasetError
from training.data.datasets import Example
from training.data.folders import VALIDATION_LIST

SYNSET_LABELS = ("imagenet_2012_validation_synset_labels.txt", "synset_labels.txt")
"""A synset a line, in the order of the files' names."""
NUMBERED = "val.txt"
"""Lines of "ILSVRC2012_val_00000001.JPEG 65": numbers of classes in the order of their synsets."""
SUFFIXES = (".jpeg", ".jpg")


def validation(root: Path, labels: tuple[Label, ...]) -> tuple[Example, ...]:
    """The images and their classes, the ids of `labels` being synsets. Raises DatasetError.

    The truth comes from the subfolders' names, or from a list in `root` or beside it: `LOC_val_solution.csv`,
    `imagenet_2012_validation_synset_labels.txt` or `val.txt`.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder of ImageNet's validation images, found none at {root}")
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
    truth = _listed(root, files, labels) if files else _by_folder(root)
    numbers = {label.id: number for number, label in enumerate(labels)}
    for file, synset in truth:
        if synset not in numbers:
            raise DatasetError(f"expected synsets that the network knows in {root}, found {synset!r} for {file.name}")
    return tuple(Example(str(file), numbers[synset]) for file, synset in truth)


def _by_folder(root: Path) -> list[tuple[Path, str]]:
    found = [
        (file, folder.name)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise DatasetError(f"expected images (.JPEG) in {root}, or in a subfolder a synset, found none")
    return found


def _listed(root: Path, files: list[Path], labels: tuple[Label, ...]) -> list[tuple[Path, str]]:
    names = (VALIDATION_LIST, *SYNSET_LABELS, NUMBERED)
    lists = [folder / name for name in names for folder in (root, root.parent) if (folder / name).is_file()]
    if not lists:
        raise DatasetError(f"expected one of {', '.join(names)} in {root} or beside it, found none")
    listing = lists[0]
    try:
        if listing.name == VALIDATION_LIST:
            with listing.open(newline="") as table:
                synset_of = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(table)}
            return [(file, synset_of[file.stem]) for file in files]
        lines = listing.read_text().split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        if listing.name == NUMBERED:
            place_of = {Path(name).name: int(number) for name, number in (line.split() for line in lines)}
            return [(file, labels[place_of[file.name]].id) for file in files]
        return list(zip(files, lines, strict=True))
    except (KeyError, ValueError, IndexError) as error:
        raise DatasetError(
            f"expected a class for each of the {len(files):,} images in {listing}, found another list: {error}"
        ) from error
