"""Where a run starts that isn't told: from the bundled network, unless there are images enough to do without."""

from __future__ import annotations

from model.artifacts.artifact import read_manifest
from model.artifacts.bundled import BUNDLED, DEFAULT_NETWORK
from model.images.contract import DEFAULT_CONTRACT, ImageContract

MIN_SCRATCH_IMAGES = 20_000
"""Training images from which on a run starts from scratch; with fewer, from the bundled network."""


def default_contract(num_train_images: int) -> ImageContract:
    """How `alexnet train` without further options reads the images of a data set. Raises ArtifactError."""
    if num_train_images >= MIN_SCRATCH_IMAGES:
        return DEFAULT_CONTRACT
    return ImageContract.parse(read_manifest(BUNDLED / DEFAULT_NETWORK).image_contract)
