"""Pruning while training: which weights are left, and when."""

from __future__ import annotations

import pytest
import torch

from model.network.initialization import initial_state
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from training.optim.pruning import pruning_masks, scheduled_densities
from training.recipes import Pruning

SPEC = build_spec(NetworkConfig(hidden=16, num_classes=6))
PRUNING = Pruning({"fc6": 0.25, "fc8": 0.5, "fc9": 0.1})


def test_ever_more_weights_are_pruned() -> None:
    densities = [scheduled_densities(PRUNING, progress)["fc6"] for progress in (0.0, 0.4, 0.5, 0.6, 0.75, 1.0)]
    assert densities[0] == densities[1] == 1
    assert densities[-1] == densities[-2] == 0.25
    assert sorted(densities, reverse=True) == densities
    assert scheduled_densities(PRUNING, 0.576)["fc6"] == pytest.approx(0.25 + 0.75 / 8)


def test_the_largest_weights_of_each_tower_are_left() -> None:
    weights = initial_state(SPEC, "he", 0)
    masks = pruning_masks(weights, SPEC, {"fc6": 0.25, "fc8": 0.5, "fc9": 0.1}, 2)
    assert masks.keys() == {"fc6.weight", "fc8.weight"}
    for (name, mask), dim, density in zip(masks.items(), (0, 1), (0.25, 0.5), strict=True):
        for weight, half in zip(weights[name].chunk(2, dim), mask.chunk(2, dim), strict=True):
            assert float(half.mean()) == density
            assert weight[half == 1].abs().min() >= weight[half == 0].abs().max()
            alone = pruning_masks({name: weight}, SPEC, {name.partition(".")[0]: density}, 1)
            assert torch.equal(alone[name], half)  # a process with one tower gets the same mask


def test_what_is_pruned_already_stays_so() -> None:
    weight = torch.zeros(8, 8)
    weight[:2] = 1.0
    (mask,) = pruning_masks({"fc6.weight": weight}, SPEC, {"fc6": 0.5}, 1).values()
    assert mask.sum() == 16


def test_a_layer_keeps_at_least_one_weight() -> None:
    (mask,) = pruning_masks({"fc6.weight": torch.rand(8, 8)}, SPEC, {"fc6": 0.001}, 1).values()
    assert mask.sum() == 1
