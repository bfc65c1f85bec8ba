"""`alexnet features`: write the features of images to a file for NumPy."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from alexnet.cli.image_results import end_with_counts
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArtifactOption,
    CropsOption,
    DeviceOption,
    FilesFromOption,
    HomeOption,
    ImagesArgument,
    MaxPixelsOption,
    OutputOption,
    PrecisionOption,
    load_artifact_while_importing,
    require_images,
)
from model.images.limits import ImageLimits
from model.plurals import count_of

if TYPE_CHECKING:
    from model.datasets.listing import Skipped
    from model.images.info import WarningKind


def features(
    output: OutputOption,
    images: ImagesArgument = None,
    files_from: FilesFromOption = None,
    artifact: ArtifactOption = None,
    crops: CropsOption = "1",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    home: HomeOption = HOME,
) -> None:
    """Write the features of images to a NumPy file (.npz).

    Features are the activations of the last hidden layer, by default for the center crop, as in an index. The file has
    the arrays paths and features, with one row per image; read it with numpy.load(FILE). Exits with status 1 if an
    image can't be read; the others are still written.

    \b
    Examples:
      alexnet features photos/ --output features.npz
    """
    require_images(images, files_from)
    loaded = load_artifact_while_importing("alexnet.feature_files", artifact, home, precision)
    from alexnet.feature_files import write_features
    from alexnet.image_files import find_inputs

    inputs, limits = find_inputs(images or (), files_from), ImageLimits(max_pixels)
    warnings: Counter[WarningKind] = Counter()
    count = write_features(inputs.names, loaded, int(crops), device, output, _print_skipped, warnings, limits)
    typer.echo(f"{count_of(count, 'image')} in {output}")
    end_with_counts(inputs, len(inputs.names) - count, warnings)


def _print_skipped(skipped: Skipped) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():  # above the progress bar
        typer.echo(f"skipped {skipped}", err=True)
