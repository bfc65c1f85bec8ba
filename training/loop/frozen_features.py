"""`FrozenFeatures`: the frozen lower layers' outputs for each image, computed once if its crop never changes.

Validation, and training without augmentation, then need neither these layers nor the image's crop again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network.spec import Dropout, Layer, Weighted
from training.data.augment import Augmentation
from training.data.transforms import has_transforms

MAX_BYTES = 2 * 2**30
"""Memory for the features: 58,000 images after conv5 in float32. Those of further images are computed each time."""


def num_frozen_layers(layers: Sequence[Layer], trained: Collection[str]) -> int:
    """How many leading layers, up to the first dropout, return the same output for an image in every step.

    `trained`: names of the layers whose weights change.
    """
    for number, layer in enumerate(layers):
        if isinstance(layer, Dropout) or (isinstance(layer, Weighted) and layer.name in trained):
            return number
    return len(layers)


def crops_never_change(augmentation: Augmentation) -> bool:
    """Whether training sees the same center crop of an image in every epoch."""
    recipe = augmentation.recipe
    changes = (recipe.random_crop, recipe.mirror, augmentation.rotate, recipe.pca_color_std, recipe.mixing)
    return not any(changes) and not has_transforms(recipe)


class FrozenFeatures:
    """Outputs of the frozen layers for center crops, by row of the image cache."""

    def __init__(self, num_rows: int) -> None:
        self._places = np.full(num_rows, -1)
        self._count = 0
        self._stored: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        return not self._count

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) True for the rows whose outputs aren't stored."""
        return self._places[rows] < 0

    def merge(self, rows: NDArray[np.int64], missing: NDArray[np.bool_], computed: Tensor | None) -> Tensor:
        """The outputs for all `rows`; stores the `computed` ones of the `missing` rows (None: none is missing)."""
        if computed is not None:
            if missing.all():
                self._store(rows, computed)
                return computed
            self._store(rows[missing], computed)
        assert self._stored is not None
        places = torch.from_numpy(self._places[rows].clip(min=0)).to(self._stored.device)
        merged = self._stored[places]
        if computed is not None:
            merged[torch.from_numpy(missing).to(merged.device)] = computed
        return merged.contiguous(memory_format=torch.channels_last) if merged.dim() == 4 else merged

    def _store(self, rows: NDArray[np.int64], outputs: Tensor) -> None:
        rows, first = np.unique(rows, return_index=True)
        if self._stored is None:
            row_bytes = outputs.element_size() * math.prod(outputs.shape[1:])
            capacity = min(len(self._places), MAX_BYTES // row_bytes)
            self._stored = outputs.new_empty((capacity, *outputs.shape[1:]))
        new = self.missing(rows)
        rows, first = rows[new], first[new]
        count = min(len(rows), len(self._stored) - self._count)
        self._stored[self._count : self._count + count] = outputs[torch.from_numpy(first[:count]).to(outputs.device)]
        self._places[rows[:count]] = np.arange(self._count, self._count + count)
        self._count += count
