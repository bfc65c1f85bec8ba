"""Configurations: names, recipes, round trips through JSON, and that every field of options has an effect."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model.exceptions import NetworkConfigError, TrainingError
from model.network.spec import NetworkConfig
from tests.helpers.narrow_network import NARROW
from training.config import (
    LENGTH_FIELDS,
    Environment,
    NetworkOptions,
    RecipeOptions,
    RunOptions,
    TrainConfig,
    parse_lr_multipliers,
)
from training.data.folders import load_folder, write_table
from training.recipes import NEVER, RECIPES, Boxes, Mixing, Recipe


@pytest.mark.parametrize("name", ["a/b", "../evil", ".", "..", ".hidden", "/", "a\\b", "a\0b"])
def test_a_name_is_one_path_component(name: str) -> None:
    with pytest.raises(TrainingError, match="invalid --name"):
        TrainConfig.create(run=RunOptions(name=name))


@pytest.mark.parametrize("option", ["home", "runs", "artifacts"])
def test_folders_of_results_that_are_not_utf_8_are_refused(option: str) -> None:
    """TensorBoard and onnxruntime can't use them."""
    with pytest.raises(TrainingError, match=r"can't be in x\\xff.*, which isn't UTF-8: choose another --home"):
        TrainConfig.create(environment=Environment(**{option: Path("x\udcff")}))  # type: ignore[arg-type]


def test_the_split_of_a_run_has_the_name_of_its_data(few: Path, tmp_path: Path) -> None:
    write_table(load_folder(few), tmp_path / "split.csv")
    assert TrainConfig.create(environment=Environment(data=str(tmp_path / "split.csv"))).run.name == few.name


def test_ordinary_names_and_folders_names_stand(tmp_path: Path) -> None:
    assert TrainConfig.create(run=RunOptions(name="Solar cells, 2nd try")).run.name == "Solar cells, 2nd try"
    for folder, name in (
        ("my images", "my images"),
        ("K\u00e4fer", "K\u00e4fer"),
        ("a.csv", "a"),
        (".hidden", "hidden"),
    ):
        assert TrainConfig.create(environment=Environment(data=str(tmp_path / folder))).run.name == name
    with pytest.raises(TrainingError, match="--name"):
        TrainConfig.create(environment=Environment(data="/"))


def test_options_are_fields_of_what_they_change() -> None:
    assert {option.name for option in fields(NetworkOptions)} <= {known.name for known in fields(NetworkConfig)}
    assert {option.name for option in fields(RecipeOptions)} - {"augment"} <= {known.name for known in fields(Recipe)}
    assert set(LENGTH_FIELDS) <= {known.name for known in fields(Recipe)}


def test_recipe_options_change_the_recipe() -> None:
    changes: dict[str, Any] = {
        "weight_decay": 0.1, "patience": 2, "pca_color_std": 0.2, "mirror": False, "random_crop": False,
        "initialization": "he", "class_weights": True, "label_smoothing": 0.1, "warmup": 0.05,
    }  # fmt: skip
    options = RecipeOptions("paper", epochs=9, batch_size=256, augment="boxes,cutmix", **changes)
    expected = replace(
        RECIPES["paper"].with_batch_size(256).with_epochs(9), boxes=Boxes(), mixing=Mixing(cutmix=0.3), **changes
    )
    assert options.resolve() == expected
    assert RecipeOptions(batch_size=64, learning_rate=0.5).resolve().learning_rate == 0.5
    known = "paper, source, small, fine-tune, photos"
    with pytest.raises(TrainingError, match=f"unknown recipe 'large': choose one of {known}"):
        RecipeOptions("large").resolve()


def test_augmentations_by_name() -> None:
    assert RecipeOptions("photos", augment="boxes,degradation,jitter,mixup,cutmix").resolve() == RECIPES["photos"]
    plain = RecipeOptions("photos", augment="none").resolve()
    assert [plain.boxes, plain.degradation, plain.jitter, plain.mixing] == [None] * 4
    with pytest.raises(TrainingError, match="unknown augmentation 'blur' in --augment: choose from boxes, "):
        RecipeOptions(augment="boxes,blur").resolve()


def test_a_recipe_without_another_length_stays_as_it_is() -> None:
    for name, recipe in RECIPES.items():
        assert RecipeOptions(name).resolve() == RecipeOptions(name, epochs=recipe.epochs).resolve() == recipe
        assert recipe.drop_by == ()


def test_a_run_by_the_clock() -> None:
    recipe = RecipeOptions("small", minutes=5).resolve()
    assert recipe.minutes == 5
    assert recipe.drop_by == (0.666, 0.833)
    assert recipe.with_epochs(recipe.epochs).minutes == 0
    assert RecipeOptions("small", schedule="cosine", minutes=5).resolve().drop_by == ()
    with pytest.raises(TrainingError, match="--minutes can't be combined with the fixed epochs of recipe source"):
        RecipeOptions("source", minutes=5).resolve()
    with pytest.raises(TrainingError, match="--minutes can't be combined with the fixed epochs of recipe source"):
        RecipeOptions("source", schedule="cosine", minutes=5).resolve()  # color shift and conv1 have fixed epochs


def test_a_run_by_the_clock_after_one_without_an_epoch() -> None:
    """Its fixed epochs used to become 0: colors would never be shifted, and conv1 would be frozen."""
    recipe = RECIPES["small"].with_epochs(0).with_minutes(5)
    assert (recipe.color_end_epoch, recipe.early_anneal_epoch, recipe.early_freeze_epoch) == (NEVER, NEVER, NEVER)
    with pytest.raises(TrainingError, match="can't be combined with the fixed epochs of recipe source"):
        RECIPES["source"].with_epochs(0).with_minutes(5)


def test_fixed_epochs_after_a_run_without_an_epoch() -> None:
    """The learning rate must not be a thousandth from the first epoch on."""
    source = RECIPES["source"]
    assert source.with_epochs(0).with_epochs(15) == source.with_epochs(15)
    short = source.with_epochs(source.epochs // 2)
    for name in ("color_end_epoch", "early_anneal_epoch", "early_freeze_epoch"):
        assert getattr(short, name) == pytest.approx(getattr(source, name) * short.epochs / source.epochs)


def test_options_that_another_one_leaves_without_effect_are_refused() -> None:
    def check(**options: Any) -> None:
        TrainConfig.create(RecipeOptions("small", **options), run=RunOptions(init_from="none")).check_combinations()

    with pytest.raises(TrainingError, match="--patience has no effect with the cosine schedule"):
        check(schedule="cosine", patience=3)
    with pytest.raises(TrainingError, match="--no-random-crop has no effect with boxes"):
        check(augment="boxes", random_crop=False)
    for options in (
        {"patience": 3},
        {"schedule": "cosine"},
        {"augment": "boxes"},
        {"augment": "jitter", "random_crop": False},
    ):
        check(**options)


def test_mistakes_in_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="hiden"):
        NetworkOptions(hiden=3)  # type: ignore[call-arg]
    for wrong in ({"precision": "int8"}, {"device": "tpu"}, {"crops": 2}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            Environment(**wrong)
    with pytest.raises(NetworkConfigError, match="invalid hidden width 3"):
        TrainConfig.create(network_options=NetworkOptions(hidden=3))
    with pytest.raises(TrainingError, match=r"invalid --lr-multipliers 'conv1': write them like conv1=0\.01,fc8=1"):
        parse_lr_multipliers("conv1")
    with pytest.raises(TrainingError, match="conv1 is given twice: remove one"):
        parse_lr_multipliers("conv1=0.1,conv1=0.5")
    assert parse_lr_multipliers("conv1=0.01,fc8=1") == {"conv1": 0.01, "fc8": 1.0}


def test_json_round_trip() -> None:
    config = TrainConfig.create(
        RecipeOptions("source", epochs=3),
        NARROW,
        RunOptions(seed=3, init_from=Path("a"), lr_multipliers={"fc8": 2.0}, frozen=("conv1",)),
        Environment(data="\udcff/y", archive=Path("z.zip"), micro_batch=4),
    )
    assert TrainConfig.from_json(config.to_json()) == config


def test_only_the_environment_may_change_when_a_run_is_resumed() -> None:
    config = TrainConfig.create()
    assert set(config.resume_fingerprint()) == {"network", "recipe", "run"}
    elsewhere = replace(config, environment=Environment(device="cpu", micro_batch=3, home=Path("/elsewhere")))
    assert elsewhere.resume_fingerprint() == config.resume_fingerprint()
    for other in (
        TrainConfig.create(RecipeOptions(weight_decay=0.1)),
        TrainConfig.create(network_options=NetworkOptions(hidden=16)),
        TrainConfig.create(run=RunOptions(seed=1)),
    ):
        assert other.resume_fingerprint() != config.resume_fingerprint()


def test_folders_are_below_home_unless_given() -> None:
    environment = Environment(home=Path("/h"), cache=Path("/fast"))
    folders = (environment.artifacts_folder, environment.runs_folder, environment.cache_folder)
    assert folders == (Path("/h/artifacts"), Path("/h/runs"), Path("/fast"))


def test_the_recipe_fine_tune_starts_from_the_bundled_network() -> None:
    config = TrainConfig.create(RecipeOptions("fine-tune"), NetworkOptions(dropout=0.3))
    assert (config.run.init_from, config.recipe.name) == (Path("photos"), "fine-tune")


@pytest.mark.parametrize(
    ("recipe", "run", "find_rate", "useless"),
    [
        (RecipeOptions(class_weights=True), RunOptions(), False, []),
        (RecipeOptions(epochs=1, learning_rate=1.0, augment="boxes"), RunOptions(), True, []),
        (RecipeOptions(batch_size=64), RunOptions(), False, ["batch_size"]),
        (RecipeOptions(batch_size=64, learning_rate=1.0), RunOptions(), False, ["batch_size", "learning_rate"]),
        (RecipeOptions(augment="boxes,mixup", mirror=False), RunOptions(), False, ["no_mirror", "augment"]),
        (RecipeOptions(), RunOptions(lr_multipliers={"copied": 1.0}), True, ["lr_multipliers", "find_rate"]),
    ],
)
def test_options_that_need_an_epoch(
    recipe: RecipeOptions, run: RunOptions, find_rate: bool, useless: list[str]
) -> None:
    run = replace(run, init_from=Path("photos"))
    config = TrainConfig.create(recipe, run=run, environment=Environment(find_rate=find_rate))
    assert config.options_without_effect() == useless


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["minutes", "learning_rate", "weight_decay", "pca_color_std", "warmup"])
def test_numbers_that_are_not_finite_are_refused(name: str, number: float) -> None:
    """The command line accepts infinity where there is no maximum, and Python accepts any number: a run of nan minutes
    published a network without a step."""
    with pytest.raises(TrainingError, match=f"invalid --{name.replace('_', '-')} {number}: it must be a finite number"):
        RecipeOptions(**{name: number}).resolve()  # type: ignore[arg-type]


def test_no_epoch_is_a_start_from_the_bundled_network() -> None:
    config = TrainConfig.create(RecipeOptions(epochs=0))
    assert (config.run.init_from, config.recipe.has_epochs) == (Path("photos"), False)
    with pytest.raises(TrainingError, match="--epochs 0 needs a network to start from"):
        TrainConfig.create(RecipeOptions("small", epochs=0))
