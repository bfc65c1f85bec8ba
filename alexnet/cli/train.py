"""`alexnet train`, also as a script: `python training/run.py`, `torchrun --nproc-per-node N training/run.py`."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.cli.options import (
    DATA_HELP,
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    ListSkippedOption,
    MaxPixelsOption,
)
from model.exceptions import AlexNetError, StoppedError, TrainingError
from model.requirements import missing_package
from model.shell_command import alexnet_command
from training.config import (
    Environment,
    NetworkOptions,
    RecipeOptions,
    RunOptions,
    TrainConfig,
    parse_lr_multipliers,
)

OTHER_RANKS_DELAY = 5
"""Seconds before other processes than the first report an error: the first usually reports the same one before."""
POOL_SIZES: dict[int | None, Literal[2, 3] | None] = {None: None, 2: 2, 3: 3}
RECIPE, NETWORK, TUNING, MACHINE, FOLDERS = "Recipe", "Network", "Fine-tuning", "Machine", "Folders"


def train(
    context: typer.Context,
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "elpv",
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    detail: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=256,
            help="Reduce images so that the shorter side has so many pixels before it is enlarged to 256 (default: as "
            "in --init-from, or 256: no reduction).",
            show_default=False,
        ),
    ] = None,
    color_profiles: Annotated[
        bool | None,
        typer.Option(
            "--color-profiles/--ignore-color-profiles",
            help="Convert embedded color profiles to sRGB (default: as in --init-from, or convert).",
            show_default=False,
        ),
    ] = None,
    drop_near_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-near-duplicates", help="Leave out training and validation images that look like held-out ones."
        ),
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the artifact (default: name of the data).", show_default=False)
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed for initialization, split, shuffling, crops and dropout.")
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(help="Resume the run in this folder; --epochs or --minutes make it longer.", show_default=False),
    ] = None,
    finish: Annotated[
        Path | None, typer.Option(help="Publish the run in this folder as it is.", show_default=False)
    ] = None,
    recipe: Annotated[
        Literal["small", "paper", "source", "photos"],
        typer.Option(
            help="small: for a few thousand images; paper: as published; source: as in the authors' program; photos: "
            "for photographs from several sources.",
            rich_help_panel=RECIPE,
        ),
    ] = "small",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of epochs, to which the schedule fits itself.", rich_help_panel=RECIPE
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Minutes of training instead of epochs.", rich_help_panel=RECIPE),
    ] = None,
    schedule: Annotated[
        Literal["plateau", "cosine"] | None,
        typer.Option(
            help="plateau: the paper's, by the validation error; cosine: down to the end of the run.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(min=0, max=0.5, help="Share of the run in which the learning rate grows.", rich_help_panel=RECIPE),
    ] = None,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Find the learning rate by a short range test.", rich_help_panel=RECIPE),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Global batch size; the learning rate scales linearly with it.", rich_help_panel=RECIPE
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Initial learning rate.", rich_help_panel=RECIPE)
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Weight decay.", rich_help_panel=RECIPE)] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without improvement before the learning rate drops.", rich_help_panel=RECIPE),
    ] = None,
    pca_color_std: Annotated[
        float | None,
        typer.Option(min=0, help="Standard deviation of the PCA color shift; 0: none.", rich_help_panel=RECIPE),
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Mirror half of the crops.", rich_help_panel=RECIPE)
    ] = None,
    random_crop: Annotated[
        bool | None,
        typer.Option("--random-crop/--no-random-crop", help="Random or center crops.", rich_help_panel=RECIPE),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Other augmentations than the recipe's: boxes,degradation,jitter,mixup,cutmix; or none.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    class_weights: Annotated[
        bool | None,
        typer.Option(
            "--class-weights/--no-class-weights",
            help="Images of small classes count more.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(min=0, max=0.5, help="Share of a target that all classes have alike.", rich_help_panel=RECIPE),
    ] = None,
    network: Annotated[
        Literal["alexnet", "alexnet-one-tower", "alexnet-six-conv"] | None,
        typer.Option(
            help="alexnet (default); the half-size network of footnote 2; or with a sixth convolution (section 6).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=2, help="Width of fc6 and fc7 (default 4096).", rich_help_panel=NETWORK)
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Dropout in fc6 and fc7; 0: none.", rich_help_panel=NETWORK),
    ] = None,
    activation: Annotated[
        Literal["relu", "tanh"] | None, typer.Option(help="Activation function.", rich_help_panel=NETWORK)
    ] = None,
    pool_size: Annotated[
        int | None,
        typer.Option(min=2, max=3, help="Pooling window: 3 overlaps, 2 doesn't.", rich_help_panel=NETWORK),
    ] = None,
    normalization: Annotated[
        Literal["paper", "source", "none"] | None,
        typer.Option(help="Local response normalization after conv1 and conv2.", rich_help_panel=NETWORK),
    ] = None,
    conv3_cross_tower: Annotated[
        bool | None,
        typer.Option(
            "--conv3-cross-tower/--no-conv3-cross-tower", help="conv3 sees both towers.", rich_help_panel=NETWORK
        ),
    ] = None,
    omit_layer: Annotated[
        Literal["conv2", "conv3", "conv4", "conv5", "fc7"] | None,
        typer.Option(help="Leave one layer out (section 7).", rich_help_panel=NETWORK),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(help="Artifact whose layers are copied where they fit.", rich_help_panel=TUNING),
    ] = None,
    lr_multipliers: Annotated[
        str | None,
        typer.Option(
            help="Learning rate multipliers by layer or group (copied, new, conv, fc): copied=0.3,conv1=0.01.",
            rich_help_panel=TUNING,
        ),
    ] = None,
    frozen: Annotated[
        str | None, typer.Option(help="Layers that are not trained: conv1,conv2.", rich_help_panel=TUNING)
    ] = None,
    processes_per_network: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="2: one tower per process, started by torchrun (section 3.2).", rich_help_panel=MACHINE
        ),
    ] = 1,
    micro_batch: Annotated[
        int,
        typer.Option(
            min=0,
            help="Maximum images per forward pass, with gradient accumulation; 0: no maximum.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    device: DeviceOption = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        typer.Option(help="Numeric precision of training.", rich_help_panel=MACHINE),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(min=0, help="Threads on the CPU; 0: chosen by a short trial.", rich_help_panel=MACHINE),
    ] = 0,
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Use torch.compile on a GPU; the first step is slow.", rich_help_panel=MACHINE),
    ] = False,
    save_steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps between checkpoints within an epoch; 0: every ten minutes only.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    keep_checkpoint: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoint", help="Keep the checkpoint of a finished run (435 MB).", rich_help_panel=MACHINE
        ),
    ] = False,
    publish: Annotated[
        Literal["last", "best"],
        typer.Option(
            help="Publish the last epoch's weights, or those of the best validation error.", rich_help_panel=MACHINE
        ),
    ] = "last",
    cache_format: Annotated[
        Literal["raw", "jpeg"],
        typer.Option(
            help="Format of decoded images: raw takes 196,608 bytes per image, jpeg about 17,000.",
            rich_help_panel=MACHINE,
        ),
    ] = "raw",
    crops: Annotated[
        Literal["1", "10"],
        typer.Option(help="Measure the center crop only, or ten crops, too.", rich_help_panel=MACHINE),
    ] = "10",
    home: HomeOption = HOME,
    artifacts: Annotated[
        Path | None,
        typer.Option(help="Output folder of artifacts (default: artifacts below --home).", rich_help_panel=FOLDERS),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder of logs and checkpoints (default: runs below --home).", rich_help_panel=FOLDERS),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded images (default: cache below --home).", rich_help_panel=FOLDERS),
    ] = None,
) -> None:
    """Train the network on labeled images, export it, measure it and publish an artifact to serve."""
    config = TrainConfig.create(
        recipe=RecipeOptions(
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
        network=NetworkOptions(
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
            init_from=init_from,
            lr_multipliers=parse_lr_multipliers(lr_multipliers) if lr_multipliers else {},
            frozen=tuple(frozen.split(",")) if frozen else (),
            cache_format=cache_format,
            detail=detail,
            color_profiles=color_profiles,
            drop_near_duplicates=drop_near_duplicates,
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
            save_steps=save_steps,
            keep_checkpoint=keep_checkpoint,
            publish=publish,
            find_rate=find_rate,
            crops=crops,
            home=home,
            artifacts=artifacts,
            runs=runs,
            cache=cache,
        ),
    )
    run_training(config, resume or finish, given_options(context), finish is not None, (epochs, minutes))


def given_options(context: typer.Context) -> set[str]:
    """The options that were given, on the command line or in the environment, without `resume` and `finish`."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name.rstrip("_") for name, source in sources.items() if source and source.name != "DEFAULT"}
    if {"resume", "finish"} <= given:
        raise TrainingError("--resume and --finish exclude each other: --finish publishes the run without training")
    if {"find_rate", "learning_rate"} <= given:
        raise TrainingError("--find-rate chooses the learning rate: leave out --learning-rate")
    return given - {"resume", "finish"}


def run_training(
    config: TrainConfig,
    resume: Path | None,
    given: set[str],
    finish: bool = False,
    length: tuple[int | None, float | None] = (None, None),
) -> None:
    """Train, or resume a run with what was `given` of its environment; then print errors and the next command.

    `finish`: publish the run in `resume` as it is. `length`: epochs and minutes of a run that is resumed.
    """
    typer.echo("loading PyTorch")  # seconds
    from training.evaluation.evaluate import format_measurements
    from training.loop.run_directory import resume_config
    from training.train import train as train_network

    if resume is not None:
        config = resume_config(resume, config.environment, given, *length)
    artifact = train_network(config, resume, finish)
    if artifact is None:  # another process prints it
        return
    typer.echo(format_measurements(artifact.manifest.measurements))
    typer.echo(f"artifact: {artifact.path}")
    index = [alexnet_command(), "index", "add", "--artifact", str(artifact.path), "--data", config.environment.data]
    index += [word for pattern in config.environment.exclude for word in ("--exclude", pattern)]
    typer.echo(f"next: {shlex.join(index)}; {shlex.join([alexnet_command(), 'serve'])}")


def main() -> None:
    """The script `training/run.py`: with several processes an error is printed once."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app()
    except ModuleNotFoundError as error:
        if (message := missing_package(error.name)) is None:
            raise
        typer.echo(f"error: {message}", err=True)
        raise SystemExit(1) from None
    except AlexNetError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(OTHER_RANKS_DELAY)  # torchrun ends this process before it repeats the first one's error
        if not isinstance(error, StoppedError) or os.environ.get("RANK", "0") == "0":  # all have stopped together
            typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
