"""`alexnet evaluate`: measure the top-1 and top-5 error of artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.options import (
    DATA_HELP,
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ArtifactsOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    JsonOption,
    MaxPixelsOption,
    PrecisionOption,
    SplitOption,
    artifact_paths,
)
from alexnet.cli.output import log_to_stderr, print_json
from model.exceptions import InvalidRequestError
from model.images.limits import ImageLimits
from model.shell_command import option_name

if TYPE_CHECKING:
    from model.artifacts.artifact import Measurement

NOT_USED = {
    "imagenet_val": ("split", "weighted", "archive", "exclude"),
    "baseline": ("artifact", "weighted", "device", "precision", "output"),
}
"""An option -> the options that it replaces or leaves without effect."""


def evaluate(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(metavar="DATA", help=DATA_HELP, show_default=False)] = None,
    artifact: ArtifactsOption = None,
    split: SplitOption = "test",
    weighted: Annotated[
        bool,
        typer.Option("--weighted", help="Weight several networks by their errors on the validation split."),
    ] = False,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    imagenet_val: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Instead of --data: folder of ImageNet's 50,000 validation images."),
    ] = None,
    baseline: Annotated[
        Literal["fisher"] | None,
        typer.Option(
            help="Instead of --artifact, measure the best method before 2012: SIFT, Fisher vectors and linear SVMs "
            "(needs the extra `baselines`)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write predictions.csv and per_class.csv (precision, recall, F1) to this folder.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Measure the top-1 and top-5 error.

    Measures with the center crop and with ten crops, and gives 95 % confidence intervals. The probabilities of several
    networks are averaged (section 6 of the paper: 5 CNNs, 7 CNNs). Needs the extra `train`.
    """
    _check_options(context)
    from training.evaluation.ensemble import evaluate_ensemble, evaluate_on_imagenet
    from training.evaluation.fisher import evaluate_fisher

    limits, excluded, data = ImageLimits(max_pixels), exclude or (), data or ""
    paths = artifact_paths(artifact, home) if baseline is None else []
    with log_to_stderr(as_json):
        if baseline is not None:
            measured = evaluate_fisher(data, split, archive, typer.echo, exclude=excluded, limits=limits)
        elif imagenet_val is not None:
            measured = evaluate_on_imagenet(paths, imagenet_val, device, precision, output, limits)
        else:
            measure = partial(evaluate_ensemble, device=device, precision=precision, exclude=excluded, limits=limits)
            measured = measure(paths, data, split, log=typer.echo, archive=archive, weighted=weighted, output=output)
    _print(measured, as_json)


def _check_options(context: typer.Context) -> None:
    """Raise InvalidRequestError for options on the command line that contradict each other or have no effect. Options
    from the environment aren't checked, since they are for all commands."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    if "baseline" in given and "data" not in given:
        raise InvalidRequestError("--baseline learns from the training split of --data: give that, not --imagenet-val")
    if ("data" in given) == ("imagenet_val" in given):
        raise InvalidRequestError("give either --data or --imagenet-val")
    for name in given & NOT_USED.keys():
        if unused := [option_name(other) for other in NOT_USED[name] if other in given]:
            it = "it" if len(unused) == 1 else "them"
            raise InvalidRequestError(f"leave out {', '.join(unused)}: {option_name(name)} doesn't use {it}")


def _print(measured: Sequence[Measurement], as_json: bool) -> None:
    from model.artifacts.measurements import format_measurements

    if as_json:
        print_json({"measurements": [measurement.model_dump(mode="json") for measurement in measured]})
    else:
        typer.echo(format_measurements(measured))
