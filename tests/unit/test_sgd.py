"""Section 5's update rule, by hand."""

from __future__ import annotations

import torch
from torch import nn

from training.sgd import MomentumSGD


def test_rule_with_a_falling_rate() -> None:
    parameters = {"fc.weight": nn.Parameter(torch.tensor([2.0])), "fc.bias": nn.Parameter(torch.tensor([1.0]))}
    optimiser = MomentumSGD(parameters.items(), 0.1, 0.9, 0.0005, decay_biases=False)
    w, b, v, u = 2.0, 1.0, 0.0, 0.0
    for rate, gradient in ((0.1, 3.0), (0.1, -1.0), (0.01, 0.5), (0.01, 0.5)):
        optimiser.rate = rate
        for parameter in parameters.values():
            parameter.grad = torch.tensor([gradient])
        optimiser.step()
        v = 0.9 * v - 0.0005 * rate * w - rate * gradient
        u = 0.9 * u - rate * gradient
        w, b = w + v, b + u
    torch.testing.assert_close(parameters["fc.weight"].detach(), torch.tensor([w]))
    torch.testing.assert_close(parameters["fc.bias"].detach(), torch.tensor([b]))


def test_differs_from_torch_only_after_the_rate_falls() -> None:
    ours, theirs = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([2.0]))
    optimiser = MomentumSGD([("w", ours)], 0.1, 0.9, 0.0005, decay_biases=True)
    stock = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.0005)
    for step in range(4):
        if step == 3:
            optimiser.rate = stock.param_groups[0]["lr"] = 0.01
        for parameter in (ours, theirs):
            parameter.grad = torch.tensor([1.0])
        optimiser.step()
        stock.step()
        if step == 2:
            torch.testing.assert_close(ours, theirs)
    assert abs(ours.item() - theirs.item()) > 0.1
