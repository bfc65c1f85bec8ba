"""Section 5's rule: the learning rate is inside the velocity, so an old velocity keeps its scale when the rate falls.

    v <- momentum * v - decay * rate * w - rate * gradient
    w <- w + v

torch's fused SGD keeps b = -v / rate instead. While the rate stays, that is the same; when it changes, b is rescaled
here so that v stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from training.config import Recipe


class MomentumSGD(torch.optim.SGD):
    """The rule over named parameters. `rates`: parameter name -> learning rate; 0 leaves it as it is."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], rates: Mapping[str, float], recipe: Recipe
    ) -> None:
        self.named = dict(parameters)
        groups = [
            {
                "params": [parameter],
                "name": name,
                "lr": rates[name],
                "weight_decay": recipe.weight_decay if recipe.decay_biases or not name.endswith(".bias") else 0.0,
            }
            for name, parameter in self.named.items()
        ]
        super().__init__(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True)

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Change learning rates; velocities keep their scale. A parameter whose rate becomes 0 stops at once."""
        for group in self.param_groups:
            old, new = group["lr"], rates[group["name"]]
            if old == new:
                continue
            momentum = self.state[group["params"][0]].get("momentum_buffer")
            if momentum is not None:
                momentum.mul_(old / new if new else 0.0)
            group["lr"] = new

    def momenta(self) -> dict[str, Tensor]:
        """-v / rate of every parameter, by name; zeros before the first step."""
        buffers = {name: self.state[parameter].get("momentum_buffer") for name, parameter in self.named.items()}
        return {name: torch.zeros_like(self.named[name]) if b is None else b for name, b in buffers.items()}

    @torch.no_grad()
    def restore(self, momenta: Mapping[str, Tensor], rates: Mapping[str, float]) -> None:
        """Take up what `momenta` gave, and the rates it was at."""
        for group in self.param_groups:
            (parameter,) = group["params"]
            group["lr"] = rates[group["name"]]
            # laid out as its parameter: the fused step reads both in one go
            self.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momenta[group["name"]])


def learning_rates(
    names: Iterable[str], recipe: Recipe, factor: float, epoch: int, layers: Mapping[str, float]
) -> dict[str, float]:
    """The rate of every parameter. `factor`: the schedule's; `layers`: factors by layer, 1 where not given."""
    rates = {}
    for name in names:
        layer, _, kind = name.partition(".")
        rate = recipe.learning_rate * layers.get(layer, 1.0)
        if kind == "bias":
            rate *= recipe.bias_rate
        if kind != "bias" or recipe.bias_rate_falls:
            rate *= factor
        if layer == "conv1" and epoch >= recipe.conv1_slow:
            rate *= 0.0 if epoch >= recipe.conv1_end else 0.1
        rates[name] = rate
    return rates
