"""SGD with section 5's momentum: the learning rate is inside the velocity, which keeps its scale when the rate drops.

    v <- momentum * v - decay * rate * w - rate * gradient
    w <- w + v

torch's fused SGD keeps b = -v / rate instead. While the rate is constant, that is equivalent; when it changes, b is
rescaled here so that v stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from model.network.spec import Conv, NetworkSpec
from training.recipes import Recipe


class MomentumSGD:
    """The update rule for named parameters.

    It calls torch's step function: the class `SGD` imports torch's compiler, which takes two seconds and isn't used.

    `learning_rates`: parameter name -> learning rate; a parameter with rate 0 isn't changed.
    """

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], learning_rates: Mapping[str, float], recipe: Recipe
    ) -> None:
        self.named = dict(parameters)
        self.momentum = recipe.momentum
        self.weight_decays = {
            name: recipe.weight_decay if recipe.decay_biases or not name.endswith(".bias") else 0.0
            for name in self.named
        }
        self._learning_rates = {name: learning_rates[name] for name in self.named}
        self._buffers = dict[str, Tensor]()  # -v / rate

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for name, parameter in self.named.items():
            if parameter.grad is None:
                continue
            buffers = [self._buffers.get(name)]
            sgd(
                [parameter],
                [parameter.grad],
                buffers,
                fused=True,
                weight_decay=self.weight_decays[name],
                momentum=self.momentum,
                lr=self._learning_rates[name],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            if buffers[0] is not None:
                self._buffers[name] = buffers[0]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.named.values():
            parameter.grad = None

    def set_learning_rates(self, learning_rates: Mapping[str, float]) -> None:
        """Change learning rates; velocities keep their scale. A parameter whose rate becomes 0 stops at once."""
        for name, old in self._learning_rates.items():
            new = learning_rates[name]
            if old != new and name in self._buffers:
                self._buffers[name].mul_(old / new if new else 0.0)
            self._learning_rates[name] = new

    def learning_rates(self) -> dict[str, float]:
        """The learning rate of every parameter now, by name."""
        return dict(self._learning_rates)

    def momenta(self) -> dict[str, Tensor]:
        """-v / rate of every parameter, by name; zeros before the first step."""
        return {
            name: self._buffers[name] if name in self._buffers else torch.zeros_like(parameter)
            for name, parameter in self.named.items()
        }

    @torch.no_grad()
    def restore(self, momenta: Mapping[str, Tensor], learning_rates: Mapping[str, float]) -> None:
        """Continue from what `momenta` and `learning_rates` returned."""
        for name, parameter in self.named.items():
            self._learning_rates[name] = learning_rates[name]
            # same memory layout as its parameter: the fused step reads both in one pass
            self._buffers[name] = torch.empty_like(parameter).copy_(momenta[name])


def scheduled_learning_rates(
    spec: NetworkSpec,
    recipe: Recipe,
    factor: float,
    epoch: int,
    multipliers: Mapping[str, float],
    warmup: float = 1.0,
) -> dict[str, float]:
    """The learning rate of every parameter, by name.

    `factor`: the schedule's, which not all biases follow. `warmup`: factor of all rates. `multipliers`: by layer, 1
    where not given.
    """
    rates = {}
    for layer in spec.weighted_layers:
        for kind in ("weight", "bias"):
            rate = warmup * recipe.learning_rate * multipliers.get(layer.name, 1.0)
            if kind == "bias":
                rate *= recipe.bias_lr_multiplier
            if kind != "bias" or recipe.bias_lr_drops or recipe.schedule == "cosine":
                rate *= factor
            if isinstance(layer, Conv) and layer.anneals_early and epoch >= recipe.early_anneal_epoch:
                rate *= 0.0 if epoch >= recipe.early_freeze_epoch else 0.1
            rates[f"{layer.name}.{kind}"] = rate
    return rates
