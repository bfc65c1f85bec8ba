"""Fine-tuning: what is copied from an artifact, what is initialized at random, and how fast each layer learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifacts.artifact import Artifact, Label
from model.artifacts.weights import read_weights
from model.exceptions import ArtifactError, TrainingError
from model.network.registry import LAYER_NAMES
from training.config import Environment, NetworkOptions, RunOptions, TrainConfig
from training.optim.initial_weights import InitialState
from training.recipes import RECIPES
from training.train import train_run

OTHERS = tuple(Label(id=name, name=name) for name in ("a", "b", "c", "d"))


def config(artifact: Artifact, network: NetworkOptions | None = None, **run: Any) -> TrainConfig:
    return TrainConfig.create(network_options=network, run=RunOptions(init_from=artifact.path, **run))


def test_weights_come_back_from_the_artifact(artifact: Artifact, tmp_path: Path) -> None:
    """Exported and read again, they equal the checkpoint's: what the export folds in is taken out."""
    (run,) = (artifact.path.parents[2] / "runs").iterdir()
    trained = torch.load(run / "checkpoint.pt", weights_only=True)["weights"]
    spec, weights = read_weights(artifact)
    assert (spec.config.hidden, spec.config.input_scale) == (64, 1 / 64)
    assert weights.keys() == trained.keys()
    for name, values in weights.items():
        assert np.array_equal(values, trained[name].numpy()), name


def test_other_classes_get_a_new_last_layer(artifact: Artifact) -> None:
    initial = InitialState.create(config(artifact), OTHERS)
    source, before = read_weights(artifact)
    assert initial.spec.config == replace(source.config, num_classes=4)
    for name, tensor in initial.weights.items():
        assert np.array_equal(tensor.numpy(), before[name]) != name.startswith("fc8"), name
    assert initial.weights["fc8.weight"].shape == (4, 64)
    copied = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    assert initial.lr_multipliers == dict.fromkeys(copied, 0.1)
    assert initial.origin.startswith("patterns version 1, network ")
    assert initial.origin.endswith("; fc8 initialized at random")
    assert initial.splits == (("patterns", artifact.manifest.training["split_sha256"]),)


def test_as_many_but_other_classes_are_not_taken_for_the_same(artifact: Artifact) -> None:
    before = read_weights(artifact)[1]["fc8.weight"]
    for labels, same in ((OTHERS[:3], False), (artifact.labels, True)):
        weights = InitialState.create(config(artifact), labels).weights
        assert np.array_equal(weights["fc8.weight"].numpy(), before) == same


def test_layers_after_a_sixth_convolution_are_new(artifact: Artifact) -> None:
    initial = InitialState.create(config(artifact, NetworkOptions(name="alexnet-six-conv")), OTHERS)
    before = read_weights(artifact)[1]
    copied = {name for name in before if np.array_equal(initial.weights[name].numpy(), before[name])}
    assert copied == {f"conv{i}.{kind}" for i in range(1, 6) for kind in ("weight", "bias")}
    assert initial.origin.endswith("; conv6, fc6, fc7, fc8 initialized at random")


def test_layers_of_another_width_are_new(artifact: Artifact) -> None:
    initial = InitialState.create(config(artifact, NetworkOptions(hidden=32)), OTHERS)
    assert initial.weights["fc6.weight"].shape == (32, 64 * 6 * 6)
    assert initial.origin.endswith("; fc6, fc7, fc8 initialized at random")


def test_layers_after_one_with_other_inputs_are_new(artifact: Artifact) -> None:
    for labels in (OTHERS, artifact.labels):
        initial = InitialState.create(config(artifact, NetworkOptions(conv3_cross_tower=False)), labels)
        assert initial.origin.endswith("; conv3, conv4, conv5, fc6, fc7, fc8 initialized at random")
        assert initial.lr_multipliers == {"conv1": 0.1, "conv2": 0.1}
        assert not initial.needs_output_layer
    before = read_weights(artifact)[1]
    copied = {name for name in before if np.array_equal(initial.weights[name].numpy(), before[name])}
    assert copied == {f"conv{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}


def test_given_multipliers_stand(artifact: Artifact) -> None:
    given = config(artifact, lr_multipliers={"conv1": 0.01, "fc8": 2.0}, frozen=("conv2",))
    multipliers = InitialState.create(given, OTHERS).lr_multipliers
    assert [multipliers[layer] for layer in ("conv1", "conv2", "conv3", "fc8")] == [0.01, 0.0, 0.1, 2.0]


def test_given_options_stand_even_where_they_are_the_recipe_s(artifact: Artifact) -> None:
    assert InitialState.create(config(artifact), OTHERS).spec.config.hidden == 64
    wide = InitialState.create(config(artifact, NetworkOptions(hidden=4096)), OTHERS)
    assert wide.spec.config.hidden == 4096


def test_mistakes_are_named(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"unknown layer 'conv9': choose from conv1, "):
        InitialState.create(config(artifact, frozen=("conv9",)), OTHERS)
    wrong: dict[str, Any]
    for wrong in (
        {"lr_multipliers": {"conv1": -1.0}},
        {"lr_multipliers": {"conv1": float("nan")}},
        {"frozen": tuple(name for name in LAYER_NAMES if name != "conv6")},
    ):
        with pytest.raises(TrainingError, match="multipliers must be >= 0, and at least one > 0"):
            InitialState.create(config(artifact, **wrong), OTHERS)
    with pytest.raises(ArtifactError):
        InitialState.create(TrainConfig.create(run=RunOptions(init_from=tmp_path)), OTHERS)


@pytest.mark.parametrize(
    "wrong",
    [
        RunOptions(init_from=Path("nope")),
        RunOptions(lr_multipliers={"foo": 1.0}),
        RunOptions(frozen=("conv9",)),
    ],
    ids=["init_from", "lr_multipliers", "frozen"],
)
def test_mistakes_are_found_before_any_image_is_read(few: Path, tmp_path: Path, wrong: RunOptions) -> None:
    with pytest.raises((ArtifactError, TrainingError)):
        train_run(TrainConfig.create(run=wrong, environment=Environment(data=str(few), home=tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_network_can_be_started_from(bundled: Artifact) -> None:
    initial = InitialState.create(config(bundled), OTHERS)
    assert initial.spec.config == replace(RECIPES["small"].network, num_classes=4)
    assert initial.origin.endswith("; fc8 initialized at random")
