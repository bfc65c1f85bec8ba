"""`alexnet evaluate` and `alexnet quantize`: an artifact measured on data, and made smaller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from model.artifact import NETWORKS
from model.options import ARTIFACTS, ArchiveOption, DeviceOption, PrecisionOption
from training.run import DATA_HELP

DataOption = Annotated[str, typer.Option(help=DATA_HELP)]


def evaluate(
    data: DataOption,
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Artifacts, or folders whose newest is taken; several are averaged."),
    ] = None,
    part: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Weigh several by their errors on the validation part.")
    ] = False,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
) -> None:
    """Measure top-1 and top-5 error, centre view and ten views, of an artifact, or of several as one.

    Several networks answer with the mean of their probabilities (section 6: 5 CNNs, 7 CNNs).
    """
    from training.ensemble import evaluate as measure
    from training.evaluate import table

    chosen = artifacts or [Path(os.environ.get("ALEXNET_ARTIFACT", ARTIFACTS))]
    typer.echo(table(measure(chosen, data, part, archive, weighted, device, precision, typer.echo)))


def quantize(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a folder whose newest one is taken.")],
    data: DataOption,
    archive: ArchiveOption = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="Training pictures to measure the activations' ranges on.")
    ] = 200,
    max_loss: Annotated[float, typer.Option(min=0, help="Percentage points of top-1 error that int8 may lose.")] = 0.5,
    device: DeviceOption = "auto",
) -> None:
    """Add the network in int8 to an artifact, with the errors of both measured on its held-out pictures.

    Refused, with nothing written, where int8 makes more errors than --max-loss allows. Serve it with --precision int8.
    """
    from training.calibration import add_int8

    found = add_int8(artifact, data, archive, pictures, max_loss, device, typer.echo)
    typer.echo(f"added {found.path / NETWORKS['int8']}")
