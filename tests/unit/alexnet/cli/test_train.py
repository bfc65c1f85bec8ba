"""`alexnet train`: every option reaches its fields of the configuration; which options --resume allows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alexnet.cli import train as command
from model.artifacts.artifact import Artifact
from model.exceptions import TrainingError
from training.config import Environment, TrainConfig
from training.default_start import MIN_SCRATCH_IMAGES
from training.loop.run_directory import RunDirectory
from training.recipes import MIXED, RECIPES, Boxes, Mixing, Recipe

DEFAULT = RECIPES["small"]
RANDOM_START: dict[str, object] = {"run.init_from": "none"}
"""Another recipe or network than the bundled network's starts from random weights."""


def recipe_fields(recipe: Recipe) -> dict[str, object]:
    """The fields in which a recipe differs from the default one."""
    default = asdict(DEFAULT)
    return {f"recipe.{name}": value for name, value in asdict(recipe).items() if value != default[name]}


OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "data": (("--data", "x.csv"), {"environment.data": "x.csv", "run.name": "x"}),
    "exclude": (("--exclude", "*.png"), {"environment.exclude": ("*.png",)}),
    "max_pixels": (("--max-pixels", "9"), {"environment.max_pixels": 9}),
    "detail": (("--detail", "48"), {"run.detail": 48}),
    "color_profiles": (("--ignore-color-profiles",), {"run.color_profiles": False}),
    "list_skipped": (("--list-skipped", "l"), {"environment.list_skipped": Path("l")}),
    "archive": (("--archive", "x.zip"), {"environment.archive": Path("x.zip")}),
    "name": (("--name", "other"), {"run.name": "other"}),
    "seed": (("--seed", "7"), {"run.seed": 7}),
    "split": (("--split", "half"), {"run.split": "half"}),
    "split_from": (("--split-from", "r"), {"run.split_from": Path("r")}),
    "recipe": (("--recipe", "paper"), recipe_fields(RECIPES["paper"]) | RANDOM_START),
    "epochs": (("--epochs", "3"), recipe_fields(DEFAULT.with_epochs(3))),
    "minutes": (("--minutes", "3"), recipe_fields(DEFAULT.with_minutes(3.0))),
    "schedule": (("--schedule", "cosine"), {"recipe.schedule": "cosine"}),
    "warmup": (("--warmup", "0.1"), {"recipe.warmup": 0.1}),
    "find_rate": (("--find-rate",), {"environment.find_rate": True}),
    "augment": (
        ("--augment", "boxes,mixup"),
        recipe_fields(replace(DEFAULT, boxes=Boxes(), mixing=Mixing(mixup=MIXED))),
    ),
    "class_weights": (("--class-weights",), {"recipe.class_weights": True}),
    "label_smoothing": (("--label-smoothing", "0.2"), {"recipe.label_smoothing": 0.2}),
    "batch_size": (
        ("--batch-size", "16"),
        {"recipe.batch_size": 16, "recipe.learning_rate": DEFAULT.learning_rate / 2},
    ),
    "learning_rate": (("--learning-rate", "0.5"), {"recipe.learning_rate": 0.5}),
    "weight_decay": (("--weight-decay", "0.25"), {"recipe.weight_decay": 0.25}),
    "patience": (("--patience", "3"), {"recipe.patience": 3}),
    "pca_color_std": (("--pca-color-std", "0.75"), {"recipe.pca_color_std": 0.75}),
    "mirror": (("--no-mirror",), {"recipe.mirror": False}),
    "random_crop": (("--no-random-crop",), {"recipe.random_crop": False}),
    "network": (("--network", "alexnet-one-tower"), {"network.name": "alexnet-one-tower", **RANDOM_START}),
    "hidden": (("--hidden", "16"), {"network.hidden": 16, **RANDOM_START}),
    "dropout": (("--dropout", "0.25"), {"network.dropout": 0.25, **RANDOM_START}),
    "activation": (("--activation", "tanh"), {"network.activation": "tanh", **RANDOM_START}),
    "pool_size": (("--pool-size", "2"), {"network.pool_size": 2, **RANDOM_START}),
    "normalization": (("--normalization", "none"), {"network.normalization": "none", **RANDOM_START}),
    "conv3_cross_tower": (("--no-conv3-cross-tower",), {"network.conv3_cross_tower": False, **RANDOM_START}),
    "omit_layer": (("--omit-layer", "conv4"), {"network.omit_layer": "conv4", **RANDOM_START}),
    "init_from": (("--init-from", "a"), recipe_fields(RECIPES["fine-tune"]) | {"run.init_from": Path("a")}),
    "fit_output": (("--no-fit-output",), {"run.fit_output": False}),
    "lr_multipliers": (("--lr-multipliers", "conv1=0.5"), {"run.lr_multipliers": {"conv1": 0.5}}),
    "frozen": (("--frozen", "conv1"), {"run.frozen": ("conv1",)}),
    "processes_per_network": (("--processes-per-network", "2"), {"environment.processes_per_network": 2}),
    "micro_batch": (("--micro-batch", "3"), {"environment.micro_batch": 3}),
    "device": (("--device", "cpu"), {"environment.device": "cpu"}),
    "precision": (("--precision", "float64"), {"environment.precision": "float64"}),
    "threads": (("--threads", "1"), {"environment.threads": 1}),
    "compile_": (("--compile",), {"environment.compile": True}),
    "device_cache": (("--device-cache", "no"), {"environment.device_cache": "no"}),
    "save_steps": (("--save-steps", "4"), {"environment.save_steps": 4}),
    "drop_near_duplicates": (("--drop-near-duplicates",), {"run.drop_near_duplicates": True}),
    "keep_checkpoint": (("--keep-checkpoint",), {"environment.keep_checkpoint": True}),
    "publish": (("--publish", "best"), {"environment.publish": "best"}),
    "cache_format": (("--cache-format", "jpeg"), {"run.cache_format": "jpeg"}),
    "crops": (("--crops", "1"), {"environment.crops": 1}),
    "home": (("--home", "h"), {"environment.home": Path("h")}),
    "artifacts": (("--artifacts", "a"), {"environment.artifacts": Path("a")}),
    "runs": (("--runs", "r"), {"environment.runs": Path("r")}),
    "cache": (("--cache", "c"), {"environment.cache": Path("c")}),
}
"""Parameter name -> its option with a value that isn't the default, and the fields that it changes, with their values.

Another recipe or length changes several fields; the learning rate is in proportion to the batch size.
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command()(command.train)
    return app


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments that `train` passes to `run_training`, instead of training."""
    calls: list[Any] = []
    monkeypatch.setattr(command, "run_training", lambda *arguments: calls.append(arguments))
    return calls


def config_of(app: typer.Typer, received: list[Any], *options: str) -> TrainConfig:
    result = CliRunner().invoke(app, list(options), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    config: TrainConfig = received[-1][0]
    return config


def flat(config: TrainConfig) -> dict[str, object]:
    sections = {section: values for section, values in asdict(config).items() if section != "recipe_if_fine_tuning"}
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def test_no_option_is_forgotten(app: typer.Typer) -> None:
    parameters = {parameter.name for parameter in typer.main.get_command(app).params}
    assert parameters == OPTIONS.keys() | {"resume", "finish", "as_json", "open_report"}


def test_every_option_reaches_its_fields_and_no_others(app: typer.Typer, received: list[Any]) -> None:
    plain, changed = flat(config_of(app, received)), set[str]()
    for name, (options, expected) in OPTIONS.items():
        config = flat(config_of(app, received, *options))
        assert {field: value for field, value in config.items() if value != plain[field]} == expected, name
        assert received[-1][2] == {name.rstrip("_")}
        changed |= expected.keys()
    untouched = {field for field in plain if field.partition(".")[0] != "recipe"} - changed
    assert untouched == {"network.channels"}  # only tests and experiments set it


def test_options_of_the_environment_are_its_fields() -> None:
    """`--resume` takes over their values by name."""
    assert {known.name for known in fields(Environment)} <= {name.rstrip("_") for name in OPTIONS}


def test_a_run_is_resumed_with_what_was_given_of_the_environment(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from training import train as library

    config = TrainConfig.create(environment=Environment(micro_batch=3, device="cpu"))
    with RunDirectory(tmp_path) as run:
        run.write_config(config)
    calls: list[tuple[TrainConfig, bool]] = []
    monkeypatch.setattr(library, "train_run", lambda config, resume, finish: calls.append((config, finish)))

    def resume(*options: str) -> TrainConfig:
        result = CliRunner().invoke(app, list(options), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return calls[-1][0]

    resumed = resume("--resume", str(tmp_path), "--save-steps", "5")
    assert (resumed.environment.save_steps, resumed.environment.micro_batch) == (5, 3)
    assert resumed.resume_fingerprint() == config.resume_fingerprint()
    assert resumed.recipe == config.recipe
    longer = resume("--resume", str(tmp_path), "--epochs", "90")
    assert longer.recipe == config.recipe.with_epochs(90)
    assert not calls[-1][1]
    assert resume("--finish", str(tmp_path), "--publish", "best").environment.publish == "best"
    assert calls[-1][1]
    for option, *value in (("--seed", "1"), ("--batch-size", "1"), ("--find-rate",)):
        with pytest.raises(TrainingError, match=f"^{option} cannot be combined with --resume"):
            CliRunner().invoke(app, ["--resume", str(tmp_path), option, *value], catch_exceptions=False)


def test_a_finished_run_is_named_before_pytorch_is_loaded(artifact: Artifact, tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.write_config(TrainConfig.create())
        run.write_artifact(artifact)
    script = "import sys; from alexnet.cli import train\ntry: train.main()\nfinally: print('torch' in sys.modules)\n"
    command = [sys.executable, "-c", script, "--resume", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "False\n")
    assert f"this run is finished: its artifact is {artifact.path}" in ended.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume", "a", "--finish", "b"), "--resume and --finish can't be combined"),
        (("--finish", "b", "--epochs", "9"), "--epochs has no effect with --finish"),
        (("--find-rate", "--learning-rate", "1"), "--find-rate chooses the learning rate"),
        (("--epochs", "3", "--minutes", "1"), "--epochs and --minutes can't be combined"),
    ],
)
def test_options_that_exclude_each_other(app: typer.Typer, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        CliRunner().invoke(app, list(options), catch_exceptions=False)


def test_without_data_it_is_said_what_is_trained_on(app: typer.Typer, received: list[Any]) -> None:
    assert "no --data given: training on the example elpv" in CliRunner().invoke(app, []).output
    for options in (("--data", "x.csv"), ("--resume", "run"), ("--finish", "run")):
        assert "--data" not in CliRunner().invoke(app, list(options)).output
    assert len(received) == 4


def test_help_names_the_number_of_images_to_start_from_scratch(app: typer.Typer) -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    assert f"fewer than {MIN_SCRATCH_IMAGES:,}" in " ".join(text.split())
