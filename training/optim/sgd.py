"""SGD with section 5's momentum: the learning rate is inside the velocity, which keeps its scale when the rate drops.

    v <- momentum * v - decay * rate * w - rate * gradient
    w <- w + v

torch's fused SGD keeps b = -v / rate instead. While the rate stays, that is the same; when it changes, b is rescaled
here so that v stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from model.network.spec import Conv, NetworkSpec
from training.recipes import Recipe


class MomentumSGD(torch.optim.SGD):
    """The update rule for named parameters.

    `learning_rates`: parameter name -> learning rate; a parameter with rate 0 isn't changed.
    """

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], learning_rates: Mapping[str, float], recipe: Recipe
    ) -> None:
        self.named = dict(parameters)
        groups = [
            {
                "params": [parameter],
                "name": name,
                "lr": learning_rates[name],
                "weight_decay": recipe.weight_decay if recipe.decay_biases or not name.endswith(".bias") else 0.0,
            }
            for name, parameter in self.named.items()
        ]
        super().__init__(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True)

    def set_learning_rates(self, learning_rates: Mapping[str, float]) -> None:
        """Change learning rates; velocities keep their scale. A parameter whose rate becomes 0 stops at once."""
        for group in self.param_groups:
            old, new = group["lr"], learning_rates[group["name"]]
            if old == new:
                continue
            momentum = self.state[group["params"][0]].get("momentum_buffer")
            if momentum is not None:
                momentum.mul_(old / new if new else 0.0)
            group["lr"] = new

    def learning_rates(self) -> dict[str, float]:
        """The learning rate of every parameter now, by name."""
        return {group["name"]: group["lr"] for group in self.param_groups}

    def momenta(self) -> dict[str, Tensor]:
        """-v / rate of every parameter, by name; zeros before the first step."""
        buffers = {name: self.state[parameter].get("momentum_buffer") for name, parameter in self.named.items()}
        return {name: torch.zeros_like(self.named[name]) if b is None else b for name, b in buffers.items()}

    @torch.no_grad()
    def restore(self, momenta: Mapping[str, Tensor], learning_rates: Mapping[str, float]) -> None:
        """Continue from what `momenta` and `learning_rates` returned."""
        for group in self.param_groups:
            (parameter,) = group["params"]
            group["lr"] = learning_rates[group["name"]]
            # same memory layout as its parameter: the fused step reads both in one pass
            self.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momenta[group["name"]])


def scheduled_learning_rates(
    spec: NetworkSpec, recipe: Recipe, factor: float, epoch: int, multipliers: Mapping[str, float]
) -> dict[str, float]:
    """The learning rate of every parameter, by name.

    `factor`: the schedule's. `multipliers`: by layer, 1 where not given.
    """
    rates = {}
    for layer in spec.weighted_layers:
        for kind in ("weight", "bias"):
            rate = recipe.learning_rate * multipliers.get(layer.name, 1.0)
            if kind == "bias":
                rate *= recipe.bias_lr_multiplier
            if kind != "bias" or recipe.bias_lr_drops:
                rate *= factor
            if isinstance(layer, Conv) and layer.anneals_early and epoch >= recipe.early_anneal_epoch:
                rate *= 0.0 if epoch >= recipe.early_freeze_epoch else 0.1
            rates[f"{layer.name}.{kind}"] = rate
    return rates
