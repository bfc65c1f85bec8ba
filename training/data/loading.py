"""`load_dataset`: what `--data` names, read as a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.datasets.reader import check_data
from model.datasets.tables import is_table
from training.data.archives import NAMED_DATASETS, load_named
from training.data.datasets import Dataset
from training.data.folders import load_folder, load_table, read_info
from training.data.splits import SplitMethod, split_again


def load_dataset(
    source: str,
    seed: int = 0,
    archive: Path | None = None,
    exclude: Sequence[str] = (),
    split: SplitMethod = "own",
) -> Dataset:
    """The dataset of `source`: one of `NAMED_DATASETS`, a table, or a folder.

    `seed`: of the split, where the data doesn't define one. `archive`: the archive of a named dataset, instead of
    downloading it. `exclude`: patterns of files and folders to leave out. `split`: how all images are split again
    (`training.data.splits`); the table that a run has written keeps its split. Raises DatasetError.
    """
    path = Path(source)
    is_own_table = source not in NAMED_DATASETS and is_table(path) and not path.is_dir()
    dataset = _load(source, seed, archive, exclude)
    return dataset if is_own_table and read_info(path) is not None else split_again(dataset, split, seed)


def _load(source: str, seed: int, archive: Path | None, exclude: Sequence[str]) -> Dataset:
    if source in NAMED_DATASETS:
        return load_named(source, archive)
    path = Path(source)
    if is_table(path) and not path.is_dir():
        return load_table(path, seed, exclude)
    check_data(path)
    return load_folder(path, seed, exclude)
