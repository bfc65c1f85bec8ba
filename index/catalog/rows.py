"""Read from the catalog which image is in which row of features, to make an `index.row_table.RowTable`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalog.file import CatalogFile
from index.catalog.schema import CHECKED_COLUMNS, LABEL_INDEX, SELECT_IMAGES, is_intact, parse_image
from model.exceptions import IndexStoreError


@dataclass(frozen=True)
class RowRecord:
    """What a search needs to know about an image.

    `intact`: whether its entry in the catalog matches the stored checksum.
    """

    id: int
    row: int
    label: str | None
    removed: bool
    intact: bool = True


class LabelGroup(NamedTuple):
    """The images of a label (None: those without one). `ids`, `removed`: (N,) int64."""

    label: str | None
    ids: NDArray[np.int64]
    removed: NDArray[np.int64]

    @classmethod
    def parse(cls, label: str | None, ids: str, removed: str) -> LabelGroup:
        """Parse a group from two columns of comma-separated numbers. Raises ValueError."""
        group = cls(label, *(np.array(str(column).split(","), np.int64) for column in (ids, removed)))
        if len(group.ids) != len(group.removed):
            raise ValueError("a value is missing")
        return group


def read_rows(catalog: CatalogFile) -> list[RowRecord]:
    """All images by row, removed ones too. Doesn't block other reads. Raises IndexStoreError if a row is missing."""
    records = []
    with catalog.checking() as database:
        for row, record in enumerate(database.execute(f"{SELECT_IMAGES} ORDER BY id")):
            image, intact = parse_image(record)
            if intact and image["row"] != row:
                raise IndexStoreError(
                    f"rows are missing from the catalog {catalog.path} (the first is {row:,}): another program has "
                    "changed it; build the index again"
                )
            records.append(RowRecord(image["id"], row, image["label"], bool(image["removed"]), intact))
    return records


def read_label_groups(catalog: CatalogFile) -> list[LabelGroup]:
    """All images by label, from the SQL index `by_label`.

    The table itself isn't read, so its checksums aren't compared. Raises IndexStoreError if rows are missing, or if
    the SQL index can't be read.
    """
    rows = catalog.query(
        f"SELECT label, group_concat(id), group_concat(removed) FROM images INDEXED BY {LABEL_INDEX} GROUP BY label"
    )
    try:
        groups = [LabelGroup.parse(*row) for row in rows]
    except ValueError as error:
        if not catalog.repair_sql_indexes():
            raise catalog.sql_index_error(LABEL_INDEX) from error
        return read_label_groups(catalog)
    _check_no_rows_missing(catalog, sum(len(group.ids) for group in groups))
    return groups


def _check_no_rows_missing(catalog: CatalogFile, count: int) -> None:
    """Raise IndexStoreError if rows are missing among the `count` images of the catalog.

    If the last image has the row it should have, none are missing; otherwise the whole table is read.
    """
    last = catalog.query(f"{SELECT_IMAGES} NOT INDEXED ORDER BY id DESC LIMIT 1")
    if last and (not is_intact(last[0]) or last[0][CHECKED_COLUMNS.index("row")] != count - 1):
        read_rows(catalog)
