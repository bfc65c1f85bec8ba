"""Options of `alexnet train` for a run and its machine: parameters of functions that make its configuration."""

# Without `from __future__ import annotations`: `alexnet.cli.train` reads the options from the evaluated annotations.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.options import (
    DATA_HELP,
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ExcludeOption,
    HomeOption,
    ListSkippedOption,
    MaxPixelsOption,
)
from alexnet.cli.recipe_options import RECIPE
from model.cpus import MAX_THREADS

if TYPE_CHECKING:
    from training.config import Environment, RunOptions

IMAGES, TUNING, MACHINE, FOLDERS = "Images", "Fine-tuning", "Machine", "Folders"
"""Sections of the help."""
MEASURED_CROPS: dict[Literal["1", "10"], Literal[1, 10]] = {"1": 1, "10": 10}


def environment_options(
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP)] = "elpv",
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    home: HomeOption = HOME,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Choose the learning rate with a short range test.", rich_help_panel=RECIPE),
    ] = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(
            envvar="ALEXNET_DEVICE",
            help="Device to train on; auto uses a GPU if one is usable. With cpu, the network is also measured there.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    processes_per_network: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            metavar="N",
            help="2: one tower per process (section 3.2); start the processes with torchrun.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    micro_batch: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Maximum images per forward pass, to save memory; gradients are accumulated over the batch. 0: no "
            "maximum.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        typer.Option(
            help="Numeric precision of training; auto: bfloat16 where the machine is fast at it, else float32.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_THREADS,
            metavar="N",
            help="CPU threads; 0: chosen by a short trial.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile", help="Use torch.compile on a GPU; the first step takes longer.", rich_help_panel=MACHINE
        ),
    ] = False,
    device_cache: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(
            help="Keep the decoded images in GPU memory, and crop them there; auto: if they fit.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    save_steps: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Write a checkpoint every N steps within an epoch, in addition to the one every ten minutes; 0: only "
            "the latter.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    keep_checkpoint: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoint",
            help="Keep the checkpoint of a finished run (435 MB), to extend the run later.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    publish: Annotated[
        Literal["last", "best"],
        typer.Option(
            help="Weights to publish: of the last epoch, or of the one with the lowest validation error.",
            rich_help_panel=MACHINE,
        ),
    ] = "last",
    crops: Annotated[
        Literal["1", "10"],
        typer.Option(
            help="Measure on the held-out images with the center crop only (1), or with ten crops, too (10).",
            rich_help_panel=MACHINE,
        ),
    ] = "10",
    artifacts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the artifact is published (default: artifacts below --home).",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of logs, checkpoints and reports (default: runs below --home).",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of decoded images (default: cache below --home).",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
) -> "Environment":
    """Where and how a run computes, and on which data."""
    from training.config import Environment

    return Environment(
        data=data,
        archive=archive,
        exclude=tuple(exclude or ()),
        list_skipped=list_skipped,
        max_pixels=max_pixels,
        home=home,
        find_rate=find_rate,
        device=device,
        processes_per_network=processes_per_network,
        micro_batch=micro_batch,
        precision=precision,
        threads=threads,
        compile=compile_,
        device_cache=device_cache,
        save_steps=save_steps,
        keep_checkpoint=keep_checkpoint,
        publish=publish,
        crops=MEASURED_CROPS[crops],
        artifacts=artifacts,
        runs=runs,
        cache=cache,
    )


def run_options(
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the artifact (default: the name of the data).", show_default=False),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**64 - 1,
            metavar="N",
            help="Random seed for initialization, split, shuffling, crops and dropout.",
        ),
    ] = 0,
    detail: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=256,
            metavar="N",
            help="First reduce each image to N pixels on its shorter side, then enlarge it to 256, so that large and "
            "small originals look alike (default: as in --init-from, or 256, no reduction).",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    color_profiles: Annotated[
        bool | None,
        typer.Option(
            "--color-profiles/--ignore-color-profiles",
            help="Convert images with embedded color profiles to sRGB (default: as in --init-from, or convert).",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    drop_near_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-near-duplicates",
            help="Leave out training images that resemble validation or test images, and validation images that "
            "resemble test images.",
            rich_help_panel=IMAGES,
        ),
    ] = False,
    split: Annotated[
        Literal["own", "half", "neighborhood"],
        typer.Option(
            "--split",
            help="How images are split. own: as the data says, else 75 % training, 10 % validation, 15 % test; half: "
            "half of each class for testing, as in section 6; neighborhood: images with neighboring names stay "
            "together.",
            rich_help_panel=IMAGES,
        ),
    ] = "own",
    split_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of an earlier run, or its split.csv: images of that run stay in their split (train, "
            "validation or test); only new images are assigned.",
            show_default=False,
            rich_help_panel=IMAGES,
        ),
    ] = None,
    init_from: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Artifact to start from, whose layers are copied where they fit; photos: the bundled network; none: "
            "random weights; auto: photos for fewer than 20,000 training images (default recipe and network only), or "
            "with --recipe fine-tune or --epochs 0, else none.",
            rich_help_panel=TUNING,
        ),
    ] = "auto",
    fit_output: Annotated[
        bool,
        typer.Option(
            "--fit-output/--no-fit-output",
            help="Fit a new output layer to the copied layers' features before training, or start it from random "
            "weights.",
            rich_help_panel=TUNING,
        ),
    ] = True,
    lr_multipliers: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Learning rate multipliers by layer or group (copied, new, conv, fc): copied=0.3,conv1=0.01 (default: "
            "0.1 for copied layers). To train all layers at the full rate: --epochs 15 --lr-multipliers copied=1.",
            rich_help_panel=TUNING,
        ),
    ] = None,
    frozen: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Layers that are not trained, comma-separated: conv1,conv2.", rich_help_panel=TUNING
        ),
    ] = None,
    cache_format: Annotated[
        Literal["raw", "jpeg"],
        typer.Option(
            help="Format of the decoded images on disk: raw takes 196,608 bytes per image, jpeg about 17,000.",
            rich_help_panel=MACHINE,
        ),
    ] = "raw",
) -> "RunOptions":
    """A run's name, how its images are split and read, and how its weights start."""
    from training.config import RunOptions, parse_init_from, parse_lr_multipliers

    return RunOptions(
        name=name or "",
        seed=seed,
        detail=detail,
        color_profiles=color_profiles,
        drop_near_duplicates=drop_near_duplicates,
        split=split,
        split_from=split_from,
        init_from=parse_init_from(init_from),
        fit_output=fit_output,
        lr_multipliers=parse_lr_multipliers(lr_multipliers) if lr_multipliers else {},
        frozen=tuple(frozen.split(",")) if frozen else (),
        cache_format=cache_format,
    )
