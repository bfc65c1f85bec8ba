"""Where a run starts by default: from the bundled network, or from scratch if there are enough images."""

from __future__ import annotations

from model.artifacts.artifact import read_manifest
from model.artifacts.bundled import BUNDLED, DEFAULT_NETWORK
from model.images.contract import DEFAULT_CONTRACT, ImageContract

MIN_SCRATCH_IMAGES = 20_000
"""With at least this many training images a run starts from scratch; with fewer, from the bundled network."""


def default_contract(num_train_images: int) -> ImageContract:
    """How `alexnet train` reads the images of a data set by default. Raises ArtifactError."""
    if num_train_images >= MIN_SCRATCH_IMAGES:
        return DEFAULT_CONTRACT
    return ImageContract.parse(read_manifest(BUNDLED / DEFAULT_NETWORK).image_contract)
