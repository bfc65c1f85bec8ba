"""`alexnet pack`: prune a trained network and pack it into a few megabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.options import RunArgument


def pack(
    run: RunArgument,
    output: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder to write the packed network and related files to.", show_default=False
        ),
    ],
    density: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            metavar="X",
            help="Fraction of the weights of fc6 and fc7 to keep (default: 0.12, or what the recipe kept).",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Epochs of training after pruning; a quarter as many follow at a tenth of the learning rate (default: "
            "8, or none if the recipe pruned).",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0, metavar="X", help="Learning rate after pruning.")] = 0.001,
) -> None:
    """Prune a network and pack it into a few megabytes.

    Prunes the network of a run, trains it further, quantizes it to a few levels per row, measures and packs it (Han et
    al. 2016, "Deep Compression"). Needs the extra `train`.
    """
    from training.publish.pack import pack_run

    pack_run(run, output, density, epochs, learning_rate, typer.echo)
