"""Export the features of an index for NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from index.protocol import Index, intact_entries
from model.datasets.attribution import Attribution
from model.exceptions import IndexStoreError
from model.files import atomic_write


def export_features(index: Index, path: Path) -> int:
    """Write `ids`, `labels`, `paths`, `keys` (N,) and `features` (N, dim) of all intact images to an .npz file.

    If an image has an attribution, also `author`, `author_page`, `page` and `license` (N,). Unknown values are
    "". Returns N. Raises IndexStoreError if the file can't be written.
    """
    entries = intact_entries(index)
    features = index.features([entry.id for entry in entries])
    attributions: dict[str, Any] = {}
    if any(entry.attribution for entry in entries):
        known = [entry.attribution or Attribution() for entry in entries]
        attributions = {name: np.array([getattr(a, name) or "" for a in known]) for name in Attribution._fields}
    try:
        with atomic_write(path, "wb") as file:  # a file object: NumPy would add .npz to a name without it
            np.savez(
                file,
                ids=np.array([entry.id for entry in entries], np.int64),
                # np.str_: text even if there are no entries
                labels=np.array([entry.label or "" for entry in entries], np.str_),
                paths=np.array([str(entry.source or "") for entry in entries], np.str_),
                keys=np.array([entry.key or "" for entry in entries], np.str_),
                features=features,
                **attributions,
            )
    except OSError as error:
        raise IndexStoreError(f"can't write {path}: {error.strerror}") from error
    return len(entries)
