"""Classification of image files without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from alexnet.image_files import read_batches
from model.artifacts.artifact import Artifact
from model.artifacts.familiarity import read_familiarity
from model.classification import Classification, to_classification
from model.datasets.listing import Skipped
from model.images.crops import CROP_IDS
from model.images.info import WarningKind
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel

MAX_UNOPTIMIZED = 4
"""Up to this many images, loading the network without optimizing it saves more time than the slower run costs."""


def classify_files(
    names: Sequence[str],
    artifact: Artifact,
    top: int,
    crops: int,
    device: str,
    warnings: Counter[WarningKind],
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[tuple[str, Classification | Skipped]]:
    """Yield, in order, each image's `top` most probable classes, from 1 or 10 crops, or why it can't be read.

    `names`: paths, or `-` for standard input. Images are read in threads and classified in batches. `warnings`: as in
    `read_batches`. Raises DeviceError, ArtifactError.
    """
    familiarity = read_familiarity(artifact)
    optimize = len(names) > MAX_UNOPTIMIZED or artifact.precision == "int8"
    model = OnnxModel(artifact.network_path, device, optimize=optimize, mapped=True)
    for batch in read_batches(names, artifact.image_contract, warnings, limits, "classifying"):
        decoded = [image.pixels for _, image in batch if not isinstance(image, Skipped)]
        computed = zip(*model.run(np.stack(decoded), CROP_IDS[crops]), strict=True) if decoded else iter(())
        for name, image in batch:
            if isinstance(image, Skipped):
                yield name, image
            else:
                yield name, to_classification(artifact.labels, image, *next(computed), familiarity, top, crops)
