"""Section 5's rule: the learning rate is inside the velocity, so an old velocity keeps its scale when the rate falls.

    v <- momentum * v - decay * rate * w - rate * gradient
    w <- w + v

`torch.optim.SGD` keeps the rate outside, which differs whenever the rate changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MomentumSGD:
    """The rule over named parameters. `velocity` maps a parameter's name to its v; `rate` may be set at any time."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        rate: float,
        momentum: float,
        decay: float,
        decay_biases: bool,
    ) -> None:
        self.rate, self.momentum = rate, momentum
        self._parameters = dict(parameters)
        self._decay = {name: decay if decay_biases or not name.endswith(".bias") else 0.0 for name in self._parameters}
        self.velocity: dict[str, Tensor] = {name: torch.zeros_like(p) for name, p in self._parameters.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Apply one update and drop the gradients."""
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            velocity = self.velocity[name]
            velocity.mul_(self.momentum)
            if self._decay[name]:
                velocity.add_(parameter, alpha=-self._decay[name] * self.rate)
            velocity.add_(parameter.grad, alpha=-self.rate)
            parameter.add_(velocity)
            parameter.grad = None
