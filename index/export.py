"""Export the features of an index for NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.protocol import Index, intact_entries


def export_features(index: Index, path: Path) -> int:
    """Write `ids` (N,), `labels` (N,) and `features` (N, dim) of all intact images to an .npz file. Returns N."""
    entries = intact_entries(index)
    features = [index.feature(entry.id) for entry in entries]
    np.savez(
        path,
        ids=np.array([entry.id for entry in entries], np.int64),
        labels=np.array([entry.label or "" for entry in entries]),
        features=np.stack(features) if features else np.empty((0, index.dim), np.float32),
    )
    return len(entries)
