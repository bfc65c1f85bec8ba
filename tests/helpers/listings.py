"""The images of a folder or a table, whichever is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.datasets.listing import Listing
from model.datasets.reader import check_folder, read_folder
from model.datasets.tables import is_table, read_table


def read_images(data: Path, exclude: Sequence[str] = ()) -> Listing:
    """`exclude`: patterns of files and folders to leave out. Raises DatasetError."""
    if is_table(data):
        return read_table(data, exclude)
    check_folder(data)
    return read_folder(data, exclude)
