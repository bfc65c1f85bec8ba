"""`torchrun --nproc-per-node N tests/helpers/fit.py DATA HOME TOWERS`: train without publishing anything.

The run that `tests.helpers.training_runs.OPTIONS` describes, but with fewer channels; its checkpoint is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.narrow_network import NARROW
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.loop.distributed import init_distributed, shut_down_distributed
from training.loop.setup import set_up


def fit(data: Path, home: Path, towers: int, network: NetworkOptions = NARROW) -> None:
    """Train two epochs in float64, in all processes of this run. `towers`: processes per network."""
    config = TrainConfig.create(
        recipe_options=RecipeOptions(epochs=2, batch_size=10),
        network_options=network,
        run=RunOptions(name="few"),
        environment=Environment(
            data=str(data), precision="float64", device="cpu", processes_per_network=towers, save_steps=1, home=home
        ),
    )
    context = init_distributed("cpu", towers)
    try:
        with set_up(config, context) as trainer:
            trainer.fit()
    finally:
        shut_down_distributed()


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
