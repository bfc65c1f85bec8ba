"""ImageNet's validation images in their standard layout: 50,000 files in one folder, or one folder per synset."""

from __future__ import annotations

from pathlib import Path

from model.artifacts.artifact import Label
from model.datasets.imagenet import VALIDATION_LIST, read_validation_list
from model.datasets.walk import walk
from model.exceptions import DatasetError
from training.data.datasets import Example

SYNSET_LABELS = ("imagenet_2012_validation_synset_labels.txt", "synset_labels.txt")
"""One synset per line, in the order of the files' names."""
NUMBERED_LIST = "val.txt"
"""Lines of "ILSVRC2012_val_00000001.JPEG 65": class numbers in the order of the synsets."""
SUFFIXES = (".jpeg", ".jpg")


def load_validation(root: Path, labels: tuple[Label, ...]) -> tuple[Example, ...]:
    """The images and their classes, where the ids of `labels` are synsets. Raises DatasetError.

    Classes come from the subfolders' names, or from a list in `root` or beside it: `LOC_val_solution.csv`,
    `imagenet_2012_validation_synset_labels.txt` or `val.txt`.
    """
    images = [root / path for path in walk(root).files if Path(path).suffix.lower() in SUFFIXES]
    files = [path for path in images if path.parent == root]
    synsets = _read_list(root, files, labels) if files else [(file, file.parent.name) for file in images]
    if not synsets:
        raise DatasetError(f"no images (.JPEG) in {root} or its subfolders")
    numbers = {label.id: number for number, label in enumerate(labels)}
    for file, synset in synsets:
        if synset not in numbers:
            raise DatasetError(f"unknown synset {synset!r} of {file.name} in {root}: the network doesn't have it")
    return tuple(Example(str(file), numbers[synset]) for file, synset in synsets)


def _read_list(root: Path, files: list[Path], labels: tuple[Label, ...]) -> list[tuple[Path, str]]:
    names = (VALIDATION_LIST, *SYNSET_LABELS, NUMBERED_LIST)
    lists = [folder / name for name in names for folder in (root, root.parent) if (folder / name).is_file()]
    if not lists:
        raise DatasetError(f"no list of classes in {root} or beside it: put one of {', '.join(names)} there")
    listing = lists[0]
    try:
        if listing.name == VALIDATION_LIST:
            synset_of = read_validation_list(listing)
            return [(file, synset_of[file.stem]) for file in files]
        lines = listing.read_text().split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        if listing.name == NUMBERED_LIST:
            number_of = {Path(name).name: int(number) for name, number in (line.split() for line in lines)}
            return [(file, labels[number_of[file.name]].id) for file in files]
        return list(zip(files, lines, strict=True))
    except (KeyError, ValueError, IndexError) as error:
        raise DatasetError(f"{listing} doesn't list a class for each of the {len(files):,} images: {error}") from error
