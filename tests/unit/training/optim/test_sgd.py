"""Section 5's update rule, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from training.optim.sgd import MomentumSGD, scheduled_learning_rates
from training.recipes import RECIPES

RECIPE = replace(RECIPES["paper"], decay_biases=False)


def test_rule_with_a_falling_rate() -> None:
    parameters = {"fc.weight": nn.Parameter(torch.tensor([2.0])), "fc.bias": nn.Parameter(torch.tensor([1.0]))}
    optimizer = MomentumSGD(parameters.items(), dict.fromkeys(parameters, 0.1), RECIPE)
    w, b, v, u = 2.0, 1.0, 0.0, 0.0
    for rate, gradient in ((0.1, 3.0), (0.1, -1.0), (0.01, 0.5), (0.01, 0.5)):
        optimizer.set_learning_rates(dict.fromkeys(parameters, rate))
        for parameter in parameters.values():
            parameter.grad = torch.tensor([gradient])
        optimizer.step()
        v = 0.9 * v - 0.0005 * rate * w - rate * gradient
        u = 0.9 * u - rate * gradient
        w, b = w + v, b + u
    torch.testing.assert_close(parameters["fc.weight"].detach(), torch.tensor([w]))
    torch.testing.assert_close(parameters["fc.bias"].detach(), torch.tensor([b]))


def test_differs_from_torch_only_after_the_rate_falls() -> None:
    ours, theirs = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = MomentumSGD([("w", ours)], {"w": 0.1}, RECIPE)
    stock = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.0005)
    for step in range(4):
        if step == 3:
            optimizer.set_learning_rates({"w": 0.01})
            stock.param_groups[0]["lr"] = 0.01
        for parameter in (ours, theirs):
            parameter.grad = torch.tensor([1.0])
        optimizer.step()
        stock.step()
        if step == 2:
            torch.testing.assert_close(ours, theirs)
    assert abs(ours.item() - theirs.item()) > 0.1


def test_a_rate_of_zero_stops_at_once() -> None:
    w = nn.Parameter(torch.tensor([2.0]))
    optimizer = MomentumSGD([("w", w)], {"w": 0.1}, RECIPE)
    for rate in (0.1, 0.0, 0.0):
        optimizer.set_learning_rates({"w": rate})
        w.grad = torch.tensor([1.0])
        optimizer.step()
        if rate:
            stopped = w.item()
    assert w.item() == stopped < 2


def test_a_restored_optimizer_continues_alike() -> None:
    values = []
    for restored in (False, True):
        w = nn.Parameter(torch.tensor([2.0]))
        optimizer = MomentumSGD([("w", w)], {"w": 0.1}, RECIPE)
        for step in range(4):
            if step == 2 and restored:
                momenta = {name: tensor.clone() for name, tensor in optimizer.momenta().items()}
                optimizer = MomentumSGD([("w", w)], {"w": 0.01}, RECIPE)
                optimizer.restore(momenta, {"w": 0.1})
            optimizer.set_learning_rates({"w": 0.1 if step < 3 else 0.01})
            w.grad = torch.tensor([1.0])
            optimizer.step()
        values.append(w.item())
    assert values[0] == values[1]


def test_warm_up_is_of_all_rates_and_the_schedule_not_of_all_biases() -> None:
    recipe, spec = RECIPES["source"], build_spec(NetworkConfig(hidden=16, num_classes=3))
    assert not recipe.bias_lr_drops
    whole = scheduled_learning_rates(spec, recipe, 1.0, 0, {})
    warming = scheduled_learning_rates(spec, recipe, 1.0, 0, {}, warmup=0.01)
    dropped = scheduled_learning_rates(spec, recipe, 0.1, 0, {})
    for name, rate in whole.items():
        assert warming[name] == pytest.approx(0.01 * rate)
        assert dropped[name] == pytest.approx(rate if name.endswith("bias") else 0.1 * rate)
