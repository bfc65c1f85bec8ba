"""`load_dataset`: what `--data` names, read as a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.datasets.reader import check_data
from model.datasets.tables import is_table
from training.data.archives import NAMED_DATASETS, load_named
from training.data.datasets import Dataset
from training.data.folders import load_folder, load_table


def load_dataset(source: str, seed: int = 0, archive: Path | None = None, exclude: Sequence[str] = ()) -> Dataset:
    """The dataset of `source`: one of `NAMED_DATASETS`, a table, or a folder.

    `seed`: of the split, where the data doesn't define one. `archive`: the archive of a named dataset, instead of
    downloading it. `exclude`: patterns of files and folders to leave out. Raises DatasetError.
    """
    if source in NAMED_DATASETS:
        return load_named(source, archive)
    path = Path(source)
    if is_table(path) and not path.is_dir():
        return load_table(path, seed, exclude)
    check_data(path)
    return load_folder(path, seed, exclude)
