"""Figure 3: the kernels of the first convolution, kept in the artifact as kernels.npy.

`model.artifacts.weights.write_kernels` writes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError

KERNELS = "kernels.npy"
SHEET_COLUMNS = 16
MAX_KERNELS, MAX_KERNEL_SIDE = 1024, 32
"""Larger arrays are refused: a file of long, thin kernels would make a sheet of gigabytes."""


def read_kernels(artifact: Artifact) -> NDArray[np.float32] | None:
    """The kernels (kernels, height, width, 3), first tower first; the paper's are (96, 11, 11, 3).

    None if the artifact has none. Raises ArtifactError.
    """
    if KERNELS not in artifact.manifest.files:
        return None
    try:
        mapped = np.load(artifact.path / KERNELS, mmap_mode="r", allow_pickle=False)  # so not larger than the file
        if not _are_kernels(mapped):
            raise ValueError(f"an array of {mapped.dtype} {mapped.shape}")
    except Exception as error:  # numpy also passes on errors of Python's parser
        raise ArtifactError(f"{artifact.path / KERNELS} isn't an array of kernels") from error
    return np.array(mapped)


def _are_kernels(array: NDArray[np.float32]) -> bool:
    """Whether the array has the dtype and the shape of some network's kernels, and is finite."""
    if array.dtype != np.float32 or array.ndim != 4:
        return False
    count, height, width, colors = array.shape
    is_size_known = 0 < count <= MAX_KERNELS and 0 < height <= MAX_KERNEL_SIDE and 0 < width <= MAX_KERNEL_SIDE
    return is_size_known and colors == 3 and bool(np.isfinite(array).all())


def draw_sheet(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, h, w, 3) -> one image of the kernels in rows of 16, all on the same scale, separated by white pixels."""
    count, height, width, _ = kernels.shape
    scaled = (kernels - kernels.min()) / max(float(np.ptp(kernels)), 1e-12)
    image = np.ones(((height + 1) * -(-count // SHEET_COLUMNS) - 1, (width + 1) * SHEET_COLUMNS - 1, 3))
    for number, kernel in enumerate(scaled):
        top, left = (height + 1) * (number // SHEET_COLUMNS), (width + 1) * (number % SHEET_COLUMNS)
        image[top : top + height, left : left + width] = kernel
    pixels: NDArray[np.uint8] = (255 * image).round().astype(np.uint8)
    return pixels
