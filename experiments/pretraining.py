"""Reproduce Table 2 and section 6: ensembles, pre-training on more classes, and a split in halves.

Trains five networks from scratch on images of few classes (the paper's ILSVRC-2012), and two networks with a sixth
convolution, pre-trained on images of many classes (the paper's ImageNet Fall 2011) and then fine-tuned on the few;
averages their ten-crop probabilities. One more network with a sixth convolution learns the many classes from half of
each class's images (Fall 2009).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic.dataclasses
import typer
from pydantic import TypeAdapter, ValidationError

from experiments import command
from experiments.results import Results
from experiments.sources import write_split
from model.exceptions import TrainingError
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.datasets import Dataset
from training.data.folders import write_table
from training.data.splits import resplit
from training.evaluation.ensemble import evaluate_ensemble
from training.recipes import STRICT

SETTINGS = Path(__file__).with_suffix(".toml")
SCRATCH, PRETRAINED, FINE_TUNED, HALVES = "scratch", "pretrained", "fine-tuned", "halves"
SCRATCH_SEEDS, PRETRAINED_SEEDS, HALVES_SEED = (0, 1, 2, 3, 4), (5, 6), 0
ENSEMBLES = {
    "1 CNN": (f"{SCRATCH}-0",),
    "5 CNNs": tuple(f"{SCRATCH}-{seed}" for seed in SCRATCH_SEEDS),
    "1 CNN*": (f"{FINE_TUNED}-5",),
    "7 CNNs*": tuple(
        [f"{SCRATCH}-{seed}" for seed in SCRATCH_SEEDS] + [f"{FINE_TUNED}-{seed}" for seed in PRETRAINED_SEEDS]
    ),
}
"""Rows of Table 2: the networks whose probabilities are averaged. *: with pre-trained networks."""
PAPER = {
    "1 CNN": "40.7 / 18.2 %",
    "5 CNNs": "38.1 / 16.4 %",
    "1 CNN*": "39.0 / 16.6 %",
    "7 CNNs*": "36.7 / 15.4 %",
    HALVES: "67.4 / 40.9 %",
}
"""Top-1 and top-5 errors on the validation images of ILSVRC-2012, and on half of Fall 2009."""
SIX_CONVOLUTIONS = "alexnet-six-conv"


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Settings:
    """What the experiment trains on, and how; read from a TOML file.

    `data`, `wider_data`: images of the few and of the many classes, as `alexnet train --data` takes them. `source`: the
    source of `data` to use; "" for all. `network`: changes to every network. `recipe`, `pretraining`, `fine_tuning`:
    changes to the recipes for training from scratch, for pre-training on the many classes, and for fine-tuning.
    """

    data: str
    wider_data: str
    source: str = ""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    recipe: RecipeOptions = field(default_factory=RecipeOptions)
    pretraining: RecipeOptions = field(default_factory=RecipeOptions)
    fine_tuning: RecipeOptions = field(default_factory=RecipeOptions)


def read_settings(path: Path) -> Settings:
    """Read the settings from a TOML file. Raises TrainingError."""
    try:
        return TypeAdapter(Settings).validate_python(tomllib.loads(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    except (OSError, tomllib.TOMLDecodeError) as error:
        reason = str(error)
    raise TrainingError(f"can't read the settings in {path}: {reason}")


def check_held_out(data: Dataset, wider: Dataset) -> None:
    """Raise TrainingError if networks would be pre-trained on test images of the few classes."""
    trained = {example.file for example in (*wider.train, *wider.validation)}
    if common := [example.file for example in data.test if example.file in trained]:
        raise TrainingError(
            f"{len(common):,} test images, such as {common[0]}, are training images of the many classes: "
            "assign the splits in a table"
        )


@dataclass(frozen=True)
class Experiment:
    """`table`, `wider_table`, `half_table`: images with their splits, of the few classes, of the many, and of the many
    split in halves. `environment`: `home`, `artifacts`, `cache` and threads."""

    settings: Settings
    results: Results
    table: Path
    wider_table: Path
    half_table: Path
    environment: Environment

    @property
    def networks(self) -> Path:
        """The folder of all artifacts."""
        return self.environment.artifacts_folder

    def run(self) -> None:
        """Train and measure what isn't in the results, in the order of the table."""
        settings = self.settings
        for seed in SCRATCH_SEEDS:
            self._train(f"{SCRATCH}-{seed}", self.table, settings.recipe, RunOptions(seed=seed, init_from="none"))
        for seed in PRETRAINED_SEEDS:
            start = f"{PRETRAINED}-{seed}"
            run = RunOptions(seed=seed, init_from="none")
            self._train(start, self.wider_table, settings.pretraining, run, SIX_CONVOLUTIONS)
            run = RunOptions(seed=seed, init_from=self.networks / start, lr_multipliers={"copied": 1.0})
            self._train(f"{FINE_TUNED}-{seed}", self.table, settings.fine_tuning, run, SIX_CONVOLUTIONS)
        for row, members in ENSEMBLES.items():
            if row not in self.results.runs:
                self.results.add(row, self._measure(members))
        run = RunOptions(seed=HALVES_SEED, init_from="none", split="half")
        self._train(HALVES, self.half_table, settings.pretraining, run, SIX_CONVOLUTIONS)

    def _train(self, name: str, data: Path, recipe: RecipeOptions, run: RunOptions, network: str | None = None) -> None:
        """Train and measure one network, unless it is in the results."""
        if name in self.results.runs:
            return
        options = self.settings.network if network is None else replace(self.settings.network, name=network)
        with command.run_home(self.environment.home, name) as home:
            environment = replace(self.environment, data=str(data), home=home, artifacts=self.networks)
            config = TrainConfig.create(recipe, options, replace(run, name=name), environment)
            artifact = command.train_or_resume(config).artifact
            self.results.add(name, command.list_errors(artifact.manifest.measurements))

    def _measure(self, members: Sequence[str]) -> dict[str, Any]:
        paths = [self.networks / name for name in members]
        measured = evaluate_ensemble(paths, str(self.table), "test", device="auto", log=typer.echo)
        return command.list_errors(measured)


def format_table(results: Results) -> str:
    """A Markdown table of our errors with ten crops and the paper's."""
    lines = ["| networks | top-1 / top-5 error | the paper |", "|---|---|---|"]
    for row, paper in PAPER.items():
        run = results.runs.get(row)
        errors = "not run" if run is None else " / ".join(f"{100 * error:.2f}" for error in run["10"]) + " %"
        lines.append(f"| {row} | {errors} | {paper} |")
    return "\n".join(lines)


def main(
    settings: Annotated[Path, typer.Option(help="TOML file with the images, the network and the recipes.")] = SETTINGS,
    data: Annotated[str | None, typer.Option(help="Images of few classes, instead of the file's.")] = None,
    wider_data: Annotated[str | None, typer.Option(help="Images of many classes, instead of the file's.")] = None,
    source: Annotated[str | None, typer.Option(help='Only this source of --data; "" for all.')] = None,
    threads: command.ThreadsOption = 0,
    finished: Annotated[bool, typer.Option("--finished", help="Only the table of the runs so far.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch of narrow networks: a minute.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Train and measure all networks of Table 2; if stopped, the same command resumes it."""
    config = read_settings(settings)
    config = replace(
        config,
        data=config.data if data is None else data,
        wider_data=config.wider_data if wider_data is None else wider_data,
        source=config.source if source is None else source,
    )
    if quick:
        output /= command.QUICK
        recipe = RecipeOptions("small", epochs=1, batch_size=8)
        network = NetworkOptions(hidden=16, channels=(4, 8, 8, 8, 8))
        config = replace(config, network=network, recipe=recipe, pretraining=recipe, fine_tuning=recipe)
    results = Results(output / "pretraining.json", asdict(config))
    if not finished:
        folder = output / "pretraining-networks"
        table, wider_table, half_table = (folder / f"{name}.csv" for name in ("few", "many", "half"))
        few = write_split(config.data, None, config.source, table)
        many = write_split(config.wider_data, None, "", wider_table)
        check_held_out(few, many)
        write_table(resplit(many, "half", HALVES_SEED), half_table)
        results.start()
        environment = Environment(home=output / "pretraining-runs", artifacts=folder, cache=cache, threads=threads)
        Experiment(config, results, table, wider_table, half_table, environment).run()
    typer.echo(format_table(results))


if __name__ == "__main__":
    command.run(main)
