"""`alexnet pack`: a trained network, pruned and packed into a few megabytes."""

from __future__ import annotations

from typing import Annotated

import typer

from alexnet.cli.options import OutputOption, RunArgument


def pack(
    run: RunArgument,
    output: OutputOption,
    density: Annotated[
        float | None,
        typer.Option(
            help="Share of the weights of fc6 and fc7 to keep (default: 0.12, or as the recipe pruned them).",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs after pruning; a quarter as many follow at a tenth (default: 8, or none where the recipe "
            "pruned).",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Learning rate after pruning.")] = 0.001,
) -> None:
    """Prune the network of a run, fine-tune, round, measure and pack it (Han et al. 2016, "Deep Compression")."""
    from training.publish.pack import pack_run

    pack_run(run, output, density, epochs, learning_rate, typer.echo)
