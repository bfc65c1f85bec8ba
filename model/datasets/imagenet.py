"""Read ImageNet's lists: names of synsets, and the classes of validation images that are all in one folder."""

from __future__ import annotations

import csv
from pathlib import Path

from model.exceptions import DatasetError

SYNSET_LISTS = ("synset_words.txt", "LOC_synset_mapping.txt")
"""Files of ImageNet's class names, with lines such as "n01440764 tench, Tinca tinca"."""
VALIDATION_LIST = "LOC_val_solution.csv"
"""Classes of ImageNet's validation images if they are all in one folder; its lines are "ID,n01440764 1 2 3 4"."""


def read_synset_names(root: Path) -> dict[str, str]:
    """Names by synset from the first of `SYNSET_LISTS` in `root`; empty if there is none. Raises DatasetError."""
    for name in SYNSET_LISTS:
        if (root / name).is_file():
            lines = _read_text(root / name).splitlines()
            return {words[0]: words[2] for words in (line.partition(" ") for line in lines) if words[2]}
    return {}


def read_validation_list(path: Path) -> dict[str, str]:
    """Synset by image name without suffix, from `VALIDATION_LIST`. Raises DatasetError."""
    try:
        rows = csv.DictReader(_read_text(path).splitlines())
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (csv.Error, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"{path} is not ImageNet's list of validation images: it needs the columns ImageId and PredictionString"
        ) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"can't read {path}: {getattr(error, 'strerror', None) or 'it is not in UTF-8'}") from error
