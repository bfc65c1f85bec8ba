"""`alexnet train`, also as a script: `python training/run.py`, `torchrun --nproc-per-node N training/run.py`."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from typer.main import get_command

from alexnet.cli.browser import OpenReportOption, open_in_browser
from alexnet.cli.command_groups import add_command, new_app
from alexnet.cli.errors import Failure, run
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ExcludeOption,
    HomeOption,
    JsonOption,
    ListSkippedOption,
    MaxPixelsOption,
)
from alexnet.cli.output import log_to_stderr, print_json
from alexnet.cli.train_options import (
    ActivationOption,
    ArtifactsOption,
    AugmentOption,
    BatchSizeOption,
    CacheFormatOption,
    CacheOption,
    ClassWeightsOption,
    ColorProfilesOption,
    CompileOption,
    Conv3CrossTowerOption,
    DetailOption,
    DeviceCacheOption,
    DropNearDuplicatesOption,
    DropoutOption,
    EpochsOption,
    FindRateOption,
    FinishOption,
    FitOutputOption,
    FrozenOption,
    HiddenOption,
    InitFromOption,
    KeepCheckpointOption,
    LabelSmoothingOption,
    LearningRateOption,
    LrMultipliersOption,
    MeasuredCropsOption,
    MicroBatchOption,
    MinutesOption,
    MirrorOption,
    NameOption,
    NetworkOption,
    NormalizationOption,
    OmitLayerOption,
    PatienceOption,
    PcaColorStdOption,
    PoolSizeOption,
    ProcessesPerNetworkOption,
    PublishOption,
    RandomCropOption,
    RecipeOption,
    ResumeOption,
    RunsOption,
    SaveStepsOption,
    ScheduleOption,
    SplitFromOption,
    ThreadsOption,
    TrainingDataOption,
    TrainingDeviceOption,
    TrainingPrecisionOption,
    TrainingSeedOption,
    TrainingSplitOption,
    WarmupOption,
    WeightDecayOption,
)
from model.exceptions import StoppedError, TrainingError

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.train import FinishedRun

OTHER_RANKS_DELAY = 5
"""Seconds before processes other than the first report an error: by then the first has usually reported it."""
NO_DATA = (
    "no --data given: training on the example elpv, 2,624 images of solar cells (non-commercial use only); --data "
    "FOLDER trains on your own images, in one subfolder per class"
)
POOL_SIZES: dict[int | None, Literal[2, 3] | None] = {None: None, 2: 2, 3: 3}
MEASURED_CROPS: dict[Literal["1", "10"], Literal[1, 10]] = {"1": 1, "10": 10}


def train(
    context: typer.Context,
    data: TrainingDataOption = "elpv",
    name: NameOption = None,
    seed: TrainingSeedOption = 0,
    resume: ResumeOption = None,
    finish: FinishOption = None,
    open_report: OpenReportOption = False,
    as_json: JsonOption = False,
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    detail: DetailOption = None,
    color_profiles: ColorProfilesOption = None,
    drop_near_duplicates: DropNearDuplicatesOption = False,
    split: TrainingSplitOption = "own",
    split_from: SplitFromOption = None,
    recipe: RecipeOption = "auto",
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    schedule: ScheduleOption = None,
    warmup: WarmupOption = None,
    find_rate: FindRateOption = False,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    weight_decay: WeightDecayOption = None,
    patience: PatienceOption = None,
    pca_color_std: PcaColorStdOption = None,
    mirror: MirrorOption = None,
    random_crop: RandomCropOption = None,
    augment: AugmentOption = None,
    class_weights: ClassWeightsOption = None,
    label_smoothing: LabelSmoothingOption = None,
    network: NetworkOption = None,
    hidden: HiddenOption = None,
    dropout: DropoutOption = None,
    activation: ActivationOption = None,
    pool_size: PoolSizeOption = None,
    normalization: NormalizationOption = None,
    conv3_cross_tower: Conv3CrossTowerOption = None,
    omit_layer: OmitLayerOption = None,
    init_from: InitFromOption = "auto",
    fit_output: FitOutputOption = True,
    lr_multipliers: LrMultipliersOption = None,
    frozen: FrozenOption = None,
    device: TrainingDeviceOption = "auto",
    processes_per_network: ProcessesPerNetworkOption = 1,
    micro_batch: MicroBatchOption = 0,
    precision: TrainingPrecisionOption = "auto",
    threads: ThreadsOption = 0,
    compile_: CompileOption = False,
    device_cache: DeviceCacheOption = "auto",
    save_steps: SaveStepsOption = 0,
    keep_checkpoint: KeepCheckpointOption = False,
    publish: PublishOption = "last",
    cache_format: CacheFormatOption = "raw",
    crops: MeasuredCropsOption = "10",
    home: HomeOption = HOME,
    artifacts: ArtifactsOption = None,
    runs: RunsOption = None,
    cache: CacheOption = None,
) -> None:
    """Train a network on your own labeled images.

    Then exports the network, measures it on held-out images, publishes an artifact that the other commands use, and
    writes a report. Ctrl-C saves a checkpoint and prints the command that resumes the run. Needs the extra `train`.
    """
    from training.config import (
        Environment,
        NetworkOptions,
        RecipeOptions,
        RunOptions,
        TrainConfig,
        parse_init_from,
        parse_lr_multipliers,
    )

    config = TrainConfig.create(
        recipe_options=RecipeOptions(
            name=recipe,
            epochs=epochs,
            minutes=minutes,
            augment=augment,
            schedule=schedule,
            warmup=warmup,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            patience=patience,
            pca_color_std=pca_color_std,
            mirror=mirror,
            random_crop=random_crop,
        ),
        network_options=NetworkOptions(
            name=network,
            hidden=hidden,
            dropout=dropout,
            activation=activation,
            pool_size=POOL_SIZES[pool_size],
            normalization=normalization,
            conv3_cross_tower=conv3_cross_tower,
            omit_layer=omit_layer,
        ),
        run=RunOptions(
            name=name or "",
            seed=seed,
            init_from=parse_init_from(init_from),
            fit_output=fit_output,
            lr_multipliers=parse_lr_multipliers(lr_multipliers) if lr_multipliers else {},
            frozen=tuple(frozen.split(",")) if frozen else (),
            cache_format=cache_format,
            detail=detail,
            color_profiles=color_profiles,
            drop_near_duplicates=drop_near_duplicates,
            split=split,
            split_from=split_from,
        ),
        environment=Environment(
            data=data,
            archive=archive,
            exclude=tuple(exclude or ()),
            list_skipped=list_skipped,
            max_pixels=max_pixels,
            processes_per_network=processes_per_network,
            micro_batch=micro_batch,
            precision=precision,
            device=device,
            threads=threads,
            compile=compile_,
            device_cache=device_cache,
            save_steps=save_steps,
            keep_checkpoint=keep_checkpoint,
            publish=publish,
            find_rate=find_rate,
            crops=MEASURED_CROPS[crops],
            home=home,
            artifacts=artifacts,
            runs=runs,
            cache=cache,
        ),
    )
    given = given_options(context)
    with log_to_stderr(as_json):
        if "data" not in given and resume is None and finish is None:
            typer.echo(NO_DATA)
        finished = run_training(config, resume or finish, given, finish is not None, (epochs, minutes))
    if finished is not None:
        _print_address(finished, as_json, open_report)


def given_options(context: typer.Context) -> set[str]:
    """The options given on the command line or in the environment, except those that a run doesn't keep.

    Raises TrainingError for options that can't be combined.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name.rstrip("_") for name, source in sources.items() if source and source.name != "DEFAULT"}
    if {"resume", "finish"} <= given:
        raise TrainingError("--resume and --finish can't be combined: --finish publishes the run without training")
    if "finish" in given and (length := {"epochs", "minutes"} & given):
        raise TrainingError(
            f"--{min(length)} has no effect with --finish, which publishes the run as it is: leave it out, or extend "
            "the run with --resume"
        )
    if {"find_rate", "learning_rate"} <= given:
        raise TrainingError("--find-rate chooses the learning rate: leave out --learning-rate")
    return given - {"resume", "finish", "as_json", "open_report"}


def run_training(
    config: TrainConfig,
    resume: Path | None,
    given: set[str],
    finish: bool = False,
    length: tuple[int | None, float | None] = (None, None),
) -> FinishedRun | None:
    """Train, or resume the run in the folder `resume`; None in processes other than the main one.

    `given`: names of the options to change in the environment of a resumed run. `finish`: publish the run as it is.
    `length`: new epochs and minutes of a resumed run.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a reader of a pipe or file sees each line at once
    if resume is not None:  # first: there may be nothing to do
        from training.loop.run_directory import resume_config

        config = resume_config(resume, config.environment, given, *length)
    typer.echo("loading PyTorch")  # seconds
    from training.train import train_run

    finished = train_run(config, resume, finish)
    if finished is not None:
        _print_result(finished)
    return finished


def _print_result(finished: FinishedRun) -> None:
    """Print the errors, the artifact and the next commands."""
    from training.evaluation.evaluate import format_measurements
    from training.publish.summary import next_commands

    artifact = finished.artifact
    typer.echo(format_measurements(artifact.manifest.measurements))
    typer.echo(f"artifact: {artifact.path}")
    for what, command in next_commands(artifact.path, finished.config):
        typer.echo(f"to {what}:\n  {command}")


def _print_address(finished: FinishedRun, as_json: bool, open_report: bool) -> None:
    """Print where the report is, or the whole result as JSON, and open the report if asked."""
    from training.publish.report import REPORT

    report, artifact = (finished.path / REPORT).resolve(), finished.artifact
    if as_json:
        measurements = [measurement.model_dump(mode="json") for measurement in artifact.manifest.measurements]
        print_json({"artifact": str(artifact.path), "report": str(report), "measurements": measurements})
    else:
        typer.echo(f"report: {report.as_uri()}")
    if open_report:
        open_in_browser(report.as_uri())


def main() -> None:
    """Run `alexnet train` as the script `training/run.py`; with several processes, an error is printed once."""
    app = new_app(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
    add_command(app, train)
    run(get_command(app), show=_show_once)


def _show_once(error: Exception, failure: Failure) -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(OTHER_RANKS_DELAY)  # torchrun ends this process before it repeats the first one's error
    if not isinstance(error, StoppedError) or os.environ.get("RANK", "0") == "0":  # all ranks stop together
        typer.echo(str(failure), err=True)
