"""Fine-tuning: what is copied from an artifact, what is fresh, and how fast each learns."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Label
from model.artifacts.weights import read_weights
from model.exceptions import ArtifactError, TrainingError
from model.network.spec import LAYERS, Architecture
from training import config
from training.optim.initial_weights import begin
from training.run import main

OTHERS = tuple(Label(id=name, name=name) for name in ("a", "b", "c", "d"))


def options(artifact: Artifact, **others: Any) -> config.RunConfig:
    return config.configure({"init_from": artifact.path} | others)


def test_weights_come_back_from_the_artifact(artifact: Artifact, tmp_path: Path) -> None:
    """Exported and read again they are the checkpoint's: what the export folds in is taken out."""
    (run,) = (artifact.path.parents[2] / "runs").iterdir()
    trained = torch.load(run / "checkpoint.pt", weights_only=True)["network"]
    architecture, weights = read_weights(artifact)
    assert (architecture.hidden, architecture.input_scale) == (64, 1 / 64)
    assert weights.keys() == trained.keys()
    for name, values in weights.items():
        assert np.array_equal(values, trained[name].numpy()), name


def test_other_classes_get_a_fresh_last_layer(artifact: Artifact) -> None:
    start = begin(options(artifact), OTHERS)
    before = read_weights(artifact)[1]
    assert start.architecture == replace(read_weights(artifact)[0], classes=4)
    for name, tensor in start.weights.items():
        assert np.array_equal(tensor.numpy(), before[name]) != name.startswith("fc8"), name
    assert start.weights["fc8.weight"].shape == (4, 64)
    assert start.rates == dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"), 0.1)
    assert start.origin.startswith("patterns version 1, network ")
    assert start.origin.endswith("; fc8 anew")


def test_as_many_but_other_classes_are_not_taken_for_the_same(artifact: Artifact) -> None:
    before = read_weights(artifact)[1]
    assert not np.array_equal(begin(options(artifact), OTHERS[:3]).weights["fc8.weight"].numpy(), before["fc8.weight"])
    assert np.array_equal(begin(options(artifact), artifact.labels).weights["fc8.weight"].numpy(), before["fc8.weight"])


def test_a_sixth_convolution_makes_what_follows_fresh(artifact: Artifact) -> None:
    start = begin(options(artifact, sixth=True), OTHERS)
    before = read_weights(artifact)[1]
    copied = {name for name in before if np.array_equal(start.weights[name].numpy(), before[name])}
    assert copied == {f"conv{i}.{kind}" for i in range(1, 6) for kind in ("weight", "bias")}
    assert start.origin.endswith("; conv6, fc6, fc7, fc8 anew")


def test_another_width_is_fresh_from_there(artifact: Artifact) -> None:
    start = begin(options(artifact, hidden=32), OTHERS)
    assert start.weights["fc6.weight"].shape == (32, 9216)
    assert start.origin.endswith("; fc6, fc7, fc8 anew")


def test_given_rates_stand(artifact: Artifact) -> None:
    start = begin(options(artifact, rates={"conv1": 0.01, "fc8": 2.0}, frozen=("conv2",)), OTHERS)
    assert (start.rates["conv1"], start.rates["conv2"], start.rates["conv3"], start.rates["fc8"]) == (0.01, 0.0, 0.1, 2)


def test_what_was_asked_for_stands_even_where_it_is_the_recipe_s(artifact: Artifact) -> None:
    assert begin(options(artifact), OTHERS).architecture.hidden == 64
    assert begin(options(artifact, hidden=4096), OTHERS).architecture.hidden == 4096


def test_mistakes_are_said(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected a layer of conv1, .*, found 'conv9'"):
        begin(options(artifact, frozen=("conv9",)), OTHERS)
    for wrong in ({"rates": {"conv1": -1.0}}, {"rates": {"conv1": float("nan")}}, {"frozen": tuple(LAYERS)}):
        with pytest.raises(TrainingError, match="expected factors of 0 or more"):
            begin(options(artifact, **wrong), OTHERS)
    with pytest.raises(ArtifactError, match="found none"):
        begin(config.configure({"init_from": tmp_path}), OTHERS)
    old = artifact.manifest.model_copy(update={"architecture": {}})
    with pytest.raises(ArtifactError, match="names its architecture"):
        read_weights(replace(artifact, manifest=old))
    new = artifact.manifest.model_copy(update={"architecture": {"pool": 5}})
    with pytest.raises(ArtifactError, match="a fault at pool"):
        read_weights(replace(artifact, manifest=new))


@pytest.mark.parametrize(
    "wrong",
    [{"init_from": Path("nope")}, {"rates": {"foo": 1.0}}, {"frozen": ("conv9",)}, {"precision": "int8"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_mistakes_are_said_before_any_image_is_read(few: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    places = {place: tmp_path / place for place in ("artifacts", "cache", "runs")}
    with pytest.raises((ArtifactError, TrainingError), match="expected"):
        main(config.configure({"data": str(few)} | places | wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_network_can_be_started_from(tmp_path: Path) -> None:
    from model.artifacts.packed import unpack_bundled

    bundled = unpack_bundled("elpv", tmp_path)
    start = begin(config.configure({"init_from": artifacts.find(bundled.path)}), OTHERS)
    assert start.architecture == replace(config.RECIPES["small"].architecture, classes=4)
    assert start.origin.endswith("; fc8 anew")


def test_an_option_means_one_thing() -> None:
    """Options are sorted by the fields of run, recipe and architecture: no name may be a field of two of them."""
    names = [{known.name for known in fields(kind)} for kind in (config.RunConfig, config.Recipe, Architecture)]
    assert names[0] & names[1] == {"name"}  # a run's is the artifact's, a recipe's is chosen as `recipe`
    assert names[0] & names[2] == {"towers"}  # a run's are processes; a network's one tower is asked for in its words
    assert not names[1] & names[2]
    chosen = config.configure({"crop": False, "mirror": False})
    assert (chosen.recipe.crop, chosen.recipe.architecture.side) == (False, 224)
