"""`load_dataset`: what `--data` names, read as a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.datasets.reader import check_folder
from model.datasets.tables import is_table
from model.exceptions import DatasetError
from training.data.archives import ARCHIVES, NAMED_DATASETS, load_named
from training.data.datasets import Dataset
from training.data.folders import load_folder, load_table, read_earlier_split
from training.data.splits import SplitMethod, resplit


def load_dataset(
    source: str,
    seed: int = 0,
    archive: Path | None = None,
    exclude: Sequence[str] = (),
    split: SplitMethod = "own",
    split_from: Path | None = None,
    for_training: bool = True,
) -> Dataset:
    """The dataset of `source`: one of `NAMED_DATASETS`, a table, or a folder.

    `seed`: of the split, if the data doesn't define one. `archive`: the archive of a named dataset, instead of
    downloading it. `exclude`: patterns of files and folders to leave out. `split`: how all images are split again
    (`training.data.splits`); a run's own table keeps its split. `split_from`: the table of an earlier run, whose images
    keep their split (`training.data.earlier_split`). `for_training`: whether to refuse images that a network can't be
    trained on, such as those of a single class. Raises DatasetError, also for an option that this source doesn't use.
    """
    check_loading_options(source, archive, exclude)
    if split_from is not None and split != "own":
        raise DatasetError(f"--split-from keeps a split, but --split {split} splits all images again: choose one")
    if split_from is not None and source in NAMED_DATASETS:
        raise DatasetError(f"{source} already has a split: leave out --split-from")
    earlier = None if split_from is None else read_earlier_split(split_from)
    path = Path(source)
    if source in NAMED_DATASETS:
        dataset = load_named(source, archive)
    elif is_table(path):
        return load_table(path, seed, exclude, split, earlier, for_training)
    else:
        check_folder(path)
        dataset = load_folder(path, seed, exclude, earlier, for_training)
    return resplit(dataset, split, seed, for_training)


def check_loading_options(source: str, archive: Path | None, exclude: Sequence[str]) -> None:
    """Raise DatasetError for an `archive` or `exclude` patterns that this `source` doesn't use."""
    if archive is not None and source not in ARCHIVES:
        raise DatasetError(f"--archive is for {' and '.join(ARCHIVES)}: leave it out with --data {source}")
    if exclude and source in NAMED_DATASETS:
        raise DatasetError(f"--exclude is for folders and tables: leave it out with --data {source}")
