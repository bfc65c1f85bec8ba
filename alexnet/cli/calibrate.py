"""`alexnet calibrate`: fit the temperature and familiarity of an artifact that was published without them."""

from __future__ import annotations

from typing import Annotated

import typer

from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ArtifactOption,
    DataOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    MaxPixelsOption,
    artifact_path,
)
from model.exceptions import InvalidRequestError
from model.images.limits import ImageLimits


def calibrate(
    data: DataOption,
    artifact: ArtifactOption = None,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    max_images: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Maximum number of validation images, and of held-out images to measure on."
        ),
    ] = 1000,
    device: DeviceOption = "auto",
    home: HomeOption = HOME,
) -> None:
    """Calibrate a network on its own data.

    Afterwards, a probability says how often such an answer is right, and the network recognizes images that are unlike
    its training images. Publishes the result as the next version of the artifact, with the same weights.
    `alexnet train` calibrates every network that it publishes. Needs the extra `train`.
    """
    from model.artifacts.default import is_unpacked_bundled
    from training.publish.calibrate import calibrate_artifact

    path = artifact_path(artifact, home)
    if is_unpacked_bundled(path, home):
        raise InvalidRequestError("bundled networks are already calibrated: choose one of yours with --artifact")
    limits = ImageLimits(max_pixels)
    calibrated = calibrate_artifact(path, data, archive, exclude or (), max_images, device, typer.echo, limits)
    typer.echo(f"published {calibrated.path}")
    earlier = calibrated.default_index_path(home / "indexes").parent
    if earlier.is_dir():
        typer.echo(
            f"the indexes in {earlier} belong to earlier versions, and this one can't search them: build its own with "
            "`alexnet index add --data FOLDER`"
        )
