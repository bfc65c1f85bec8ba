"""The ten crops of an image (paper, section 4.1): four corners and the center, then their mirror images."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.images.contract import IMAGE_SIZE

CROP_SIZE: Final = 224
MARGIN = IMAGE_SIZE - CROP_SIZE
OFFSETS = ((0, 0), (0, MARGIN), (MARGIN, 0), (MARGIN, MARGIN), (MARGIN // 2, MARGIN // 2))
"""(top, left) of crops 0 to 4; crop i + 5 is the mirror image of crop i."""

CENTER_CROP = (4,)
TEN_CROP = tuple(range(10))
CROP_IDS: Final = {1: CENTER_CROP, 10: TEN_CROP}
"""Number of crops that are averaged -> their ids."""


def crop_coordinates(crop: int = CROP_SIZE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the 256 x 256 image in each crop of `crop` x `crop` pixels: two (10, crop) arrays."""
    span = np.arange(crop)
    offsets = [(top * (IMAGE_SIZE - crop) // MARGIN, left * (IMAGE_SIZE - crop) // MARGIN) for top, left in OFFSETS]
    rows = np.stack([top + span for top, _ in offsets] * 2)
    columns = np.stack([left + span for _, left in offsets] + [left + span[::-1] for _, left in offsets])
    return rows.astype(np.int64), columns.astype(np.int64)
