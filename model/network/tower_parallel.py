"""Tower parallelism: one tower of the network in each of two processes (section 3.2: one per GPU).

A process holds half of every layer. `LocalExchange` is one process with both towers, where nothing has to be sent;
`DistributedExchange` is one tower per process. The network calls its exchange before layers that see both towers, and
after the last layer.

`torch.distributed.nn.functional.all_gather` isn't used: its gradient is silently wrong where the result is joined along
channels (the parts of the gradient aren't contiguous).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from model.network.spec import NetworkSpec


class LocalExchange:
    """Both towers in this process."""

    size = 1
    rank = 0

    def gather(self, x: Tensor) -> Tensor:
        """This process's channels (N, C, ...) -> the channels of both towers, the first tower's first."""
        return x

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum over both towers."""
        return x


class DistributedExchange:
    """One tower in each process of `group`; every process must call the same methods in the same order."""

    def __init__(self, group: distributed.ProcessGroup) -> None:
        self.group = group
        self.size, self.rank = group.size(), group.rank()

    def gather(self, x: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(x, self)  # type: ignore[no-untyped-call]
        return gathered

    def all_reduce(self, x: Tensor) -> Tensor:
        total: Tensor = _AllReduce.apply(x, self)  # type: ignore[no-untyped-call]
        return total


Exchange = LocalExchange | DistributedExchange


class _Gather(torch.autograd.Function):
    """Joins the towers' channels; the gradient of a tower's channels is the sum over both towers' next layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, exchange: DistributedExchange) -> Tensor:
        ctx.exchange = exchange
        own = x.movedim(1, -1).contiguous()  # channels last: no copy for the layout that the convolutions use
        shares = [torch.empty_like(own) for _ in range(exchange.size)]
        distributed.all_gather(shares, own, exchange.group)
        return torch.cat(shares, -1).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        exchange = ctx.exchange
        total = gradients[0].movedim(1, -1).clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=exchange.group)
        return total.chunk(exchange.size, -1)[exchange.rank].movedim(-1, 1), None


class _AllReduce(torch.autograd.Function):
    """Sums over the towers; every summand has the gradient of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, exchange: DistributedExchange) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=exchange.group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def split_state(state: Mapping[str, Tensor], spec: NetworkSpec, exchange: Exchange) -> dict[str, Tensor]:
    """This process's share of the whole network's tensors: weights, or other tensors of the same names and shapes."""
    return {
        name: tensor if dim is None else tensor.chunk(exchange.size, dim)[exchange.rank]
        for name, tensor in state.items()
        for dim in [_shard_dim(spec, name)]
    }


def merge_shards(shares: Sequence[Mapping[str, Tensor]], spec: NetworkSpec) -> dict[str, Tensor]:
    """The whole network's tensors from the towers' shares, in the order of the towers."""
    return {
        name: tensor if dim is None else torch.cat([share[name] for share in shares], dim)
        for name, tensor in shares[0].items()
        for dim in [_shard_dim(spec, name)]
    }


def gather_state(share: Mapping[str, Tensor], spec: NetworkSpec, exchange: Exchange) -> dict[str, Tensor]:
    """The whole network's tensors, on the CPU of every process that takes part."""
    if isinstance(exchange, LocalExchange):
        return {name: tensor.detach().cpu() for name, tensor in share.items()}
    shares: list[dict[str, Tensor]] = [{} for _ in range(exchange.size)]
    for name, tensor in share.items():
        own = tensor.detach().contiguous()
        gathered = [torch.empty_like(own) for _ in range(exchange.size)]
        distributed.all_gather(gathered, own, exchange.group)
        for target, part in zip(shares, gathered, strict=True):
            target[name] = part.cpu()
    return merge_shards(shares, spec)


def _shard_dim(spec: NetworkSpec, name: str) -> int | None:
    """The dimension along which a tensor is divided; None: every process has all of it."""
    layer_name, _, kind = name.partition(".")
    (layer,) = [layer for layer in spec.weighted_layers if layer.name == layer_name]
    if layer.partitioning != "row":
        return 0
    return 1 if kind == "weight" else None
