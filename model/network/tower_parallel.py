"""Where the towers meet when each lives in a process of its own (section 3.2: one a GPU).

A tower holds half of every layer. `Exchange` is one process with both towers, where nothing has to travel;
`DistributedExchange` is one tower per process. The network calls them at the same places: into the layers that see
both towers, and after fc8.

`torch.distributed.nn.functional.all_gather` isn't used: its gradient is silently wrong where the result is joined along
channels (the parts of the gradient aren't contiguous).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

BY_INPUT = ("fc8.weight",)
"""fc8 is cut along its inputs: each tower adds its share of the logits. All other layers are cut along outputs."""
WHOLE = ("fc8.bias",)


class Exchange:
    """Both towers in this process."""

    parts = 1
    part = 0

    def gather(self, x: Tensor) -> Tensor:
        """This process's channels (N, C, ...) -> the channels of both towers, the first tower's first."""
        return x

    def total(self, x: Tensor) -> Tensor:
        """The sum over both towers."""
        return x


class DistributedExchange(Exchange):
    """One tower in each process of `group`; every process must call the same methods in the same order."""

    def __init__(self, group: distributed.ProcessGroup) -> None:
        self.group = group
        self.parts, self.part = group.size(), group.rank()

    def gather(self, x: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(x, self)  # type: ignore[no-untyped-call]
        return gathered

    def total(self, x: Tensor) -> Tensor:
        summed: Tensor = _Total.apply(x, self)  # type: ignore[no-untyped-call]
        return summed


class _Gather(torch.autograd.Function):
    """Joins channels; a tower's gradient is the sum of what the layers of both towers say about its channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, between: DistributedExchange) -> Tensor:
        ctx.between = between
        own = x.movedim(1, -1).contiguous()  # channels last: no copy for the layout that the convolutions use
        parts = [torch.empty_like(own) for _ in range(between.parts)]
        distributed.all_gather(parts, own, between.group)
        return torch.cat(parts, -1).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        between = ctx.between
        whole = gradients[0].movedim(1, -1).clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole, group=between.group)
        return whole.chunk(between.parts, -1)[between.part].movedim(-1, 1), None


class _Total(torch.autograd.Function):
    """Adds up; every summand has the sum's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, between: DistributedExchange) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=between.group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def split(state: Mapping[str, Tensor], exchange: Exchange) -> dict[str, Tensor]:
    """This process's share of the whole network's tensors (weights, or anything of their names and shapes)."""
    return {
        name: tensor if name in WHOLE else tensor.chunk(exchange.parts, _cut(name))[exchange.part]
        for name, tensor in state.items()
    }


def join(shares: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The whole network's tensors from the towers' shares, in the order of the towers."""
    first = shares[0]
    return {
        name: tensor if name in WHOLE else torch.cat([share[name] for share in shares], _cut(name))
        for name, tensor in first.items()
    }


def gather_state(share: Mapping[str, Tensor], exchange: Exchange) -> dict[str, Tensor]:
    """The whole network's tensors, on the CPU of every process that takes part."""
    if not isinstance(exchange, DistributedExchange):
        return {name: tensor.detach().cpu() for name, tensor in share.items()}
    shares: list[dict[str, Tensor]] = [{} for _ in range(exchange.parts)]
    for name, tensor in share.items():
        own = tensor.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(exchange.parts)]
        distributed.all_gather(parts, own, exchange.group)
        for target, part in zip(shares, parts, strict=True):
            target[name] = part.cpu()
    return join(shares)


def _cut(name: str) -> int:
    return 1 if name in BY_INPUT else 0
