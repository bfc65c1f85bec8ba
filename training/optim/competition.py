"""Competition within a source: for some images only the classes of their own source compete.

If data comes from several sources, a network learns to tell the sources apart, and fails on images from elsewhere
(Torralba and Efros 2011). An image for which only its own source's classes count doesn't teach it that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.augment import COMPETITION_STREAM, hash_uniform
from training.data.shortcuts import can_use_sources


class Competition:
    """Which classes compete for an image, reproducible from (seed, epoch, image).

    `sources`: of all images of the dataset, "" where unknown. `labels`: their classes. `rows`: the training images; a
    class belongs to the sources of its training images. If no source has images of several classes, the sources are
    subclasses, and all classes compete. `share`: the share of the images for which competition is limited.
    """

    def __init__(
        self,
        sources: Sequence[str],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        num_classes: int,
        share: float,
        seed: int,
    ) -> None:
        own = [sources[row] for row in rows]
        names = sorted(set(own)) if can_use_sources(own, labels[rows]) else [""]
        number_of = {name: number for number, name in enumerate(names)}
        self.num_sources = len(names)
        self._numbers = np.array([number_of.get(source, 0) for source in sources])
        self._classes = np.zeros((len(names), num_classes), bool)
        self._classes[self._numbers[rows], labels[rows]] = True
        self._share, self._seed = share, seed

    def excluded(
        self, epoch: int, rows: NDArray[np.int64], partners: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_] | None:
        """(N, classes): which don't compete for the images in `rows`, mixed with `partners`; None: all compete."""
        if not self._share or self.num_sources < 2:
            return None
        restricted = hash_uniform((self._seed, epoch, COMPETITION_STREAM), rows, 1) < self._share
        competing = self._classes[self._numbers[rows]]
        if partners is not None:
            competing = competing | self._classes[self._numbers[partners]]
        excluded: NDArray[np.bool_] = restricted & ~competing
        return excluded
