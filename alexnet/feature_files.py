"""Compute the features of image files and write them for NumPy, without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.image_files import read_batches
from model.artifacts.artifact import Artifact
from model.datasets.listing import Skipped
from model.exceptions import InvalidImageError
from model.files import atomic_write
from model.images.crops import CROP_IDS
from model.images.info import WarningKind
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel


def write_features(
    names: Sequence[str],
    artifact: Artifact,
    crops: int,
    device: str,
    output: Path,
    report_skipped: Callable[[Skipped], None],
    warnings: Counter[WarningKind],
    limits: ImageLimits = DEFAULT_LIMITS,
) -> int:
    """Write an .npz file with `paths` (N,) and `features` (N, feature_dim) float32 of the images that can be read.

    `names`: paths, or `-` for standard input; their order is kept. `crops`: 1, or 10, whose features are averaged.
    `report_skipped`: called with each image that can't be read. `warnings`: as in `read_batches`. Returns N. Raises
    DeviceError, ArtifactError; InvalidImageError if no image can be read; and OSError, before any image is read, if the
    file can't be written.
    """
    paths = list[str]()
    with atomic_write(output, "wb") as file:  # an open file, since NumPy adds .npz to a name without it
        model = OnnxModel(artifact.network_path, device, mapped=True)
        features = [np.empty((0, model.feature_dim), np.float32)]
        for batch in read_batches(names, artifact.image_contract, warnings, limits, "computing features"):
            pixels = list[NDArray[np.uint8]]()
            for name, image in batch:
                if isinstance(image, Skipped):
                    report_skipped(image)
                else:
                    paths.append(name)
                    pixels.append(image.pixels)
            if pixels:
                features.append(model.features(np.stack(pixels), CROP_IDS[crops]))
        if names and not paths:
            raise InvalidImageError(f"no image could be read, so {output} was not written")
        np.savez(file, paths=np.array(paths, np.str_), features=np.concatenate(features))
    return len(paths)
