"""What a training run is told: the recipe by name, and the run's own choices. Saved beside what they produced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """How the network is trained. The defaults are sections 4 and 5 of the paper.

    `colour_deviation`: standard deviation of the PCA colour shift in units of the eigenvalues of the RGB covariance,
    with pixels taken as 0..1 (the reading under which the paper's formula gives a few grey levels).
    `decay_biases`: the paper's rule has no exception for biases; the authors' program had.
    `patience`: epochs without a better validation error after which the learning rate is divided by ten; after `drops`
    divisions the next one ends the run.
    """

    name: str
    initialisation: str = "paper"
    input_scale: float = 1.0
    batch: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    decay_biases: bool = True
    dropout: float = 0.5
    colour_deviation: float = 0.1
    epochs: int = 90
    patience: int = 6
    drops: int = 3


RECIPES = {
    "paper": Recipe("paper"),
    "small": Recipe(
        "small",
        initialisation="he",
        input_scale=1 / 64,  # pixels to about unit variance; a power of two, so that folding it into conv1 is exact
        batch=32,
        learning_rate=0.005,
        decay_biases=False,
        epochs=60,
        patience=8,
        drops=2,
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of this name. Raises TrainingError."""
    if name not in RECIPES:
        raise TrainingError(f"expected a recipe of {', '.join(RECIPES)}, found {name!r}")
    return RECIPES[name]


@dataclass(frozen=True)
class RunConfig:
    """One run: where its pictures and results are, and what it does besides the recipe.

    `precision` is `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the processor has it. `hidden` is the
    width of fc6 and fc7, 4096 in the paper.
    """

    recipe: Recipe
    data: str = "elpv"
    archive: Path | None = None
    name: str = "elpv"
    seed: int = 0
    hidden: int = 4096
    precision: str = "auto"
    device: str = "auto"
    artifacts: Path = Path("artifacts")
    cache: Path = Path("cache")
    runs: Path = Path("runs")
