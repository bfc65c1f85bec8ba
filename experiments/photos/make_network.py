"""Train the network for photographs on a list of images, measure it, publish it and pack it.

    python -m experiments.photos.make_network --data photos.csv --output packed

`photos.csv` has the columns path, label, split and source (see README.md here).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.options import HOME, DataOption, DeviceOption, HomeOption, OutputOption
from experiments import command
from model.artifacts.artifact import Artifact
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.publish.pack import pack_run
from training.train import train_run

LEARNING_RATE = 0.001
"""For further epochs after pruning; there are none, because the recipe prunes during training."""


def make_network(config: TrainConfig, output: Path) -> Artifact:
    """Train as configured, and pack the network into the folder `output`. Returns the packed network's artifact."""
    trained = train_run(config)
    assert trained is not None
    return pack_run(trained.path, output, None, None, LEARNING_RATE, typer.echo)


def main(
    data: DataOption,
    output: OutputOption,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs (default: the recipe's).")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Minutes of training instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch size (default: the recipe's).")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Artifact to start from.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    device: DeviceOption = "auto",
    home: HomeOption = HOME,
) -> None:
    """Make the network for ordinary photographs from a list of images."""
    config = TrainConfig.create(
        RecipeOptions("photos", epochs=epochs, minutes=minutes, batch_size=batch_size),
        NetworkOptions(),
        RunOptions(name="photos", seed=seed, init_from=init_from or "none"),
        Environment(data=data, device=device, home=home),
    )
    make_network(config, output)


if __name__ == "__main__":
    command.run(main)
