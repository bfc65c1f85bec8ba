"""Frozen lower layers run once per image if crops don't change, with the same weights as if they ran in each step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.network.registry import build_spec
from tests.helpers.narrow_network import NARROW
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig
from training.data.cache import ImageCache
from training.data.folders import load_folder
from training.loop.distributed import DistributedContext
from training.loop.frozen_features import FrozenFeatures, num_frozen_layers
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.recipes import RECIPES

CONVOLUTIONS = tuple(f"conv{number}" for number in range(1, 6))
UNCHANGED_CROPS: dict[str, Any] = {"random_crop": False, "mirror": False, "pca_color_std": 0.0}


def make_trainer(few: Path, cached: ImageCache, folder: Path, **recipe: Any) -> Trainer:
    config = TrainConfig.create(
        RecipeOptions(**({"epochs": 2, "batch_size": 16, "learning_rate": 0.01} | recipe)),
        NARROW,
        RunOptions(frozen=CONVOLUTIONS),
        Environment(precision="float64", device="cpu"),
    )
    dataset = load_folder(few)
    initial = InitialState.create(config, dataset.labels)
    return Trainer(config, dataset, cached, RunDirectory(folder), DistributedContext(torch.device("cpu")), initial)


def test_the_weights_are_those_without_the_shortcut(
    few: Path, cached: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = make_trainer(few, cached, tmp_path / "short", **UNCHANGED_CROPS)
    start = {name: tensor.clone() for name, tensor in short.engine.network.state_dict().items()}
    short.fit()
    rows = np.concatenate([short.train_rows, short.validation_rows])
    assert not short.engine.frozen_features.missing(rows).any()
    monkeypatch.setattr("training.loop.engine.num_frozen_layers", lambda *_: 0)
    full = make_trainer(few, cached, tmp_path / "full", **UNCHANGED_CROPS)
    full.engine.network.requires_grad_()
    full.fit()
    assert full.engine.frozen_features.is_empty
    ours, theirs = short.engine.network.state_dict(), full.engine.network.state_dict()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-12)
        assert torch.equal(tensor, start[name]) == name.startswith("conv"), name
    assert short.best.error == full.best.error


def test_augmented_crops_are_not_kept(few: Path, cached: ImageCache, tmp_path: Path) -> None:
    """Those of validation images are kept: they are center crops."""
    for name, value in {"mirror": True, "random_crop": True, "pca_color_std": 0.1}.items():
        trainer = make_trainer(few, cached, tmp_path / name, **UNCHANGED_CROPS | {"epochs": 1, name: value})
        trainer.fit()
        features = trainer.engine.frozen_features
        assert features.missing(trainer.train_rows).all()
        assert not features.missing(trainer.validation_rows).any()


def test_no_gradient_is_computed_for_frozen_layers(few: Path, cached: ImageCache, tmp_path: Path) -> None:
    step = make_trainer(few, cached, tmp_path).engine
    logits = step.network(torch.zeros(1, 3, 224, 224, dtype=torch.float64)).logits
    logits.sum().backward()
    computed = {name for name, parameter in step.network.named_parameters() if parameter.grad is not None}
    assert computed == {f"fc{number}.{kind}" for number in (6, 7, 8) for kind in ("weight", "bias")}


def test_layers_up_to_dropout_and_the_first_trained_one() -> None:
    spec = build_spec(replace(RECIPES["paper"].network, num_classes=3))
    names = [layer.name for layer in spec.weighted_layers]
    frozen = [num_frozen_layers(spec.layers, names[count:]) for count in range(len(names) + 1)]
    assert frozen == sorted(frozen)
    assert frozen[0] == 0
    assert [getattr(spec.layers[number], "name", None) for number in frozen[:5]] == names[:5]
    assert frozen[6] == frozen[8]  # dropout, which differs in each step, comes before fc7


def test_outputs_are_kept_while_there_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.frozen_features.MAX_BYTES", 3 * 2 * 8)
    features = FrozenFeatures(5)
    outputs = torch.arange(10, dtype=torch.float64).reshape(5, 2)
    for rows in (np.array([3, 1]), np.array([1, 1, 0]), np.array([4, 3, 2])):
        absent = features.missing(rows)
        computed = outputs[rows[absent]] if absent.any() else None
        assert torch.equal(features.merge(rows, absent, computed), outputs[rows])
    assert features.missing(np.arange(5)).tolist() == [False, False, True, False, True]
