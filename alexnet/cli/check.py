"""`alexnet check`: what is wrong with a data set, before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.errors import FAILED
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    DataOption,
    ExcludeOption,
    HomeOption,
    JsonOption,
    ListSkippedOption,
    MaxPixelsOption,
    SeedOption,
    load_artifact,
)
from alexnet.cli.output import log_to_stderr, print_json
from model.images.limits import ImageLimits

if TYPE_CHECKING:
    from model.artifacts.artifact import Artifact
    from training.data.data_check import DataCheck


def check(
    data: DataOption,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    seed: SeedOption = 0,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    artifact: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Read the images as this trained network does, with its detail and color profiles (default: as "
            "`alexnet train` does without further options).",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Check labeled images before training.

    Finds copies and near-duplicates across splits, images with several labels, classes that are too small to measure,
    imbalanced classes, and classes that can be told from the file alone (its size, format or camera). Uses the split
    of the data, or else the one that `alexnet train` draws with the same --seed. Exits with status 1 if training would
    refuse the data.
    """
    with log_to_stderr(as_json):
        network = None if artifact is None else load_artifact(artifact, home)
        result = _check(data, archive, exclude or (), seed, max_pixels, network)
    if list_skipped is not None:
        from model.datasets.listing import write_skipped

        write_skipped(list_skipped, result.skipped)
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo(str(result))
    if result.refusals:
        raise typer.Exit(FAILED)


def _check(
    data: str, archive: Path | None, exclude: Sequence[str], seed: int, max_pixels: int, artifact: Artifact | None
) -> DataCheck:
    from training.data.data_check import check_data
    from training.data.loading import load_dataset
    from training.default_start import default_contract

    dataset = load_dataset(data, seed, archive, exclude)
    contract = default_contract(len(dataset.train)) if artifact is None else artifact.image_contract
    return check_data(dataset, contract, ImageLimits(max_pixels))
