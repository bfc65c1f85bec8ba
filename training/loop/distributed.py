"""The processes of a run: replicas of the network, each one process or two towers (section 3.2), started by torchrun.

Process r of W holds tower r mod T of replica r div T: a mesh (W / T, T), so that towers are neighbors on one machine.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from model.exceptions import TrainingError
from model.network.tower_parallel import Between, Exchange
from model.shell_command import alexnet, called

WAIT = timedelta(hours=24)
"""How long a process waits for another one: the first may be measuring the network, or reading a large data set."""


@dataclass(frozen=True)
class Processes:
    """This process among all: `replica` of `replicas`, and the tower or towers it holds (`exchange`)."""

    device: torch.device
    rank: int = 0
    size: int = 1
    replica: int = 0
    replicas: int = 1
    exchange: Exchange = field(default_factory=Exchange)
    replica_group: distributed.ProcessGroup | None = None
    """The processes with the same tower in all replicas."""

    @property
    def first(self) -> bool:
        """Prints, writes and publishes for all."""
        return self.rank == 0

    @property
    def saves(self) -> bool:
        """Takes part in gathering the whole network for a checkpoint."""
        return self.replica == 0

    def going_on(self, run: Path) -> str:
        """The command that goes on with the run in that folder, by as many processes, as it was started."""
        script, more = sys.argv[0], ["--resume", str(run)]
        if not script.endswith(".py"):
            return shlex.join([alexnet(), "train", *more])
        python, local = Path(sys.executable), int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        starter = [called(python)]
        if self.size > 1:
            nodes = ["--nnodes", str(self.size // local), "--rdzv-endpoint", "HOST:PORT"] if local < self.size else []
            starter = [called(python.with_name("torchrun")), *nodes, "--nproc-per-node", str(local)]
        return shlex.join([*starter, script, *more])

    def share(self, value: Any) -> Any:
        """The first process's `value`, in all."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all replicas; both towers of a replica have the same values."""
        if self.replica_group is not None:
            distributed.all_reduce(values, group=self.replica_group)
        return values

    def any(self, wish: bool) -> bool:
        """Whether any process has the wish."""
        if self.size == 1:
            return wish
        flag = torch.tensor([float(wish)], device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())


def start(device: str, towers: int) -> Processes:
    """Join the others that torchrun started, or be the only one. Raises TrainingError."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if towers not in (1, 2):
        raise TrainingError(f"expected 1 process a network or 2, found --towers {towers}")
    if size % towers:
        raise TrainingError(
            f"expected processes in pairs for --towers 2, found {size}: "
            "torchrun --nproc-per-node 2 training/run.py --towers 2 ..., or --towers 1 for one process a network"
        )
    chosen = torch.device(device, local) if device == "cuda" else torch.device(device)
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise TrainingError(f"expected a GPU a process, found {torch.cuda.device_count()} for {local + 1}")
        torch.cuda.set_device(chosen)
    if size == 1:
        return Processes(chosen)
    if not distributed.is_initialized():
        if chosen.type == "cpu":  # torchrun gives each process one thread unless told otherwise
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=WAIT, device_id=chosen if backend == "nccl" else None)
    groups = [
        [distributed.new_group(list(ranks), timeout=WAIT) for ranks in mesh]  # by all, in the same order
        for mesh in (
            [range(first, first + towers) for first in range(0, size, towers)],
            [range(tower, size, towers) for tower in range(towers)],
        )
    ]
    tower_group, replica_group = groups[0][rank // towers], groups[1][rank % towers]
    return Processes(
        chosen,
        rank,
        size,
        rank // towers,
        size // towers,
        Between(tower_group) if towers > 1 else Exchange(),
        replica_group if size > towers else None,
    )


def end() -> None:
    """Leave the others."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class GradientSum:
    """Adds the replicas' gradients while the backward pass still runs: a parameter's as soon as it is whole.

    The network has 16 parameters, the largest first to be ready, so none of the buckets of DistributedDataParallel are
    needed, and the sum doesn't depend on how a run was cut in pieces.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], group: distributed.ProcessGroup | None) -> None:
        self.group = group
        self.last = False
        """Whether the pass under way is the last one of its step: earlier ones only add to the gradients here."""
        self._pending: list[distributed.Work] = []
        if group is not None:
            for parameter in (p for p in parameters if p.requires_grad):
                parameter.register_post_accumulate_grad_hook(self._send)  # type: ignore[no-untyped-call]

    def _send(self, parameter: Tensor) -> None:
        if self.last:
            work = distributed.all_reduce(parameter.grad, group=self.group, async_op=True)
            assert work is not None
            self._pending.append(work)

    def finish(self) -> None:
        """Wait until every gradient is that of the whole batch."""
        for work in self._pending:
            work.wait()
        self._pending.clear()
