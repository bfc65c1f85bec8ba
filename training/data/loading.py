"""`load_dataset`: what `--data` names, read as a `Dataset`."""

from __future__ import annotations

from pathlib import Path

from training.data.archives import NAMED_DATASETS, load_named
from training.data.datasets import Dataset
from training.data.folders import load_folder, load_table


def load_dataset(source: str, seed: int = 0, archive: Path | None = None) -> Dataset:
    """The dataset of `source`: one of `NAMED_DATASETS`, a CSV table, or a folder with one subfolder per class.

    `seed`: of the split, where the data doesn't define one. `archive`: the zip file of a named dataset, instead of
    downloading it. Raises DatasetError.
    """
    if source in NAMED_DATASETS:
        return load_named(source, archive)
    return load_table(Path(source), seed) if source.endswith(".csv") else load_folder(Path(source), seed)
