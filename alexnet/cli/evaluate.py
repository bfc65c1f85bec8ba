"""`alexnet evaluate`: top-1 and top-5 error of artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.options import (
    DATA_HELP,
    HOME,
    ArchiveOption,
    ArtifactsOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    PrecisionOption,
    SplitOption,
)
from model.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from model.artifacts.artifact import Measurement


def evaluate(
    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default=False)] = None,
    artifact: ArtifactsOption = None,
    split: SplitOption = "test",
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Weight several networks by their errors on the validation split.")
    ] = False,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    imagenet_val: Annotated[
        Path | None, typer.Option(help="Instead of --data: folder of ImageNet's 50,000 validation images.")
    ] = None,
    baseline: Annotated[
        Literal["fisher"] | None,
        typer.Option(help="Instead of --artifact: SIFT, Fisher vectors and linear SVMs (extra `baselines`)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions.csv and per_class.csv (precision, recall, F1).", show_default=False),
    ] = None,
    home: HomeOption = HOME,
) -> None:
    """Measure the top-1 and top-5 error of an artifact with the center crop and with ten crops.

    The probabilities of several networks are averaged (section 6 of the paper: 5 CNNs, 7 CNNs).
    """
    from training.evaluation.ensemble import evaluate_ensemble, evaluate_on_imagenet
    from training.evaluation.evaluate import format_measurements

    paths = artifact or [home / "artifacts"]
    if (data is None) == (imagenet_val is None):
        raise InvalidRequestError("give either --data or --imagenet-val")
    if baseline is not None and output is not None:
        raise InvalidRequestError("--output is for networks: leave it out with --baseline")
    if imagenet_val is not None:
        typer.echo(format_measurements(evaluate_on_imagenet(paths, imagenet_val, device, precision, output)))
    elif baseline is not None:
        typer.echo(format_measurements(_evaluate_fisher(data or "", split, archive, exclude or [])))
    else:
        options = (archive, weighted, device, precision, typer.echo, output, exclude or ())
        typer.echo(format_measurements(evaluate_ensemble(paths, data or "", split, *options)))


def _evaluate_fisher(data: str, split: str, archive: Path | None, exclude: list[str]) -> list[Measurement]:
    from training.evaluation.fisher import evaluate_fisher

    return evaluate_fisher(data, split, archive, typer.echo, exclude=exclude)
