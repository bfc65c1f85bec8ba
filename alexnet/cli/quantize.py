"""`alexnet quantize`: add an int8 network to an artifact."""

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
    MaxImagesOption,
    MaxPixelsOption,
    artifact_path,
)


def quantize(
    data: DataOption,
    artifact: ArtifactOption = None,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    max_images: MaxImagesOption = 200,
    max_error_increase: Annotated[
        float,
        typer.Option(min=0, metavar="X", help="Largest accepted increase of the top-1 error, in percentage points."),
    ] = 0.5,
    device: DeviceOption = "auto",
    home: HomeOption = HOME,
) -> None:
    """Add an int8 network, which is faster.

    Calibrates it on at most --max-images training images. Writes nothing if its error on the validation images exceeds
    that of float32 by more than --max-error-increase; otherwise also measures both on the test images. Serve it with
    --precision int8. Needs the extra `train`.
    """
    from model.artifacts.artifact import NETWORK_FILES
    from model.images.limits import ImageLimits
    from training.evaluation.quantize import add_int8

    path = artifact_path(artifact, home)
    options = (max_images, max_error_increase, device, typer.echo, exclude or (), ImageLimits(max_pixels))
    quantized = add_int8(path, data, archive, *options)
    typer.echo(f"added {quantized.path / NETWORK_FILES['int8']}: use it with --precision int8, and build its own index")
