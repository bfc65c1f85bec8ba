"""Dropout masks: how many outputs are kept, and that layers, steps and towers have unrelated masks."""

from __future__ import annotations

import torch
from torch import Tensor

from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from model.network.tower_parallel import LocalExchange
from training.optim.dropout import dropout_masks

SPEC = build_spec(NetworkConfig(num_classes=5, hidden=200, dropout=0.2))


class Tower(LocalExchange):
    """One of two processes that hold a tower each."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank


def draw(exchange: LocalExchange | None = None, seed: int = 0, step: int = 0) -> tuple[Tensor, ...]:
    return dropout_masks(SPEC, exchange or LocalExchange(), seed, step, 500, torch.zeros(1, dtype=torch.float64))


def test_an_output_is_dropped_with_the_probability_of_its_layer() -> None:
    for mask in draw():
        assert (mask.shape, mask.dtype) == ((500, 200), torch.float64)
        assert set(mask.flatten().tolist()) == {0.0, 1.0}
        assert abs(mask.mean().item() - 0.8) < 0.01


def test_masks_of_layers_steps_and_seeds_are_not_related() -> None:
    masks = [mask for drawn in (draw(), draw(step=1), draw(seed=1)) for mask in drawn]
    related = torch.corrcoef(torch.stack([mask.flatten() for mask in masks])) - torch.eye(len(masks))
    assert related.abs().max() < 0.02
    assert all(map(torch.equal, draw(step=1), draw(step=1)))


def test_each_tower_has_its_half_of_the_masks() -> None:
    for whole, *halves in zip(draw(), draw(Tower(0)), draw(Tower(1)), strict=True):
        assert torch.equal(torch.cat(halves, 1), whole)
