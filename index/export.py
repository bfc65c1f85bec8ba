"""The features of an index as a NumPy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.store import ImageIndex


def export_features(index: ImageIndex, path: Path) -> int:
    """Write the arrays `ids`, `labels` and `features` of all whole images to an .npz file; the number of images."""
    entries = [entry for entry in index.catalog.iter_entries() if entry.id not in index.damaged]
    features = [index.feature(entry.id) for entry in entries]
    np.savez(
        path,
        ids=np.array([entry.id for entry in entries], np.int64),
        labels=np.array([entry.label or "" for entry in entries]),
        features=np.stack(features) if features else np.empty((0, index.dim), np.float32),
    )
    return len(entries)
