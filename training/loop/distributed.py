"""Distributed training: replicas of the network in one process each, or one per tower (section 3.2), by torchrun.

Process r of W holds tower r mod T of replica r div T: a mesh (W / T, T), so that a network's towers are on one machine.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

from model.exceptions import TrainingError
from model.network.tower_parallel import DistributedExchange, Exchange, LocalExchange
from model.shell_command import Command, shell_command

Value = TypeVar("Value")

TIMEOUT = timedelta(hours=24)
"""How long a process waits for another one, which may be measuring the network or reading a large dataset."""


@dataclass(frozen=True)
class DistributedContext:
    """This process among all: rank `rank` of `world_size`, `replica` of `num_replicas`.

    `exchange`: the tower or towers that it holds. `replica_group`: the processes with the same tower in all replicas.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    replica: int = 0
    num_replicas: int = 1
    exchange: Exchange = field(default_factory=LocalExchange)
    replica_group: distributed.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process prints, writes and publishes for all."""
        return self.rank == 0

    @property
    def gathers_weights(self) -> bool:
        """Whether this process takes part in gathering the whole network."""
        return self.replica == 0

    def log(self, text: str) -> None:
        """Print a line, in the main process only."""
        if self.is_main:
            tqdm.write(text)
            sys.stdout.flush()

    def resume_command(self, run: Path, option: str = "--resume") -> str:
        """The command that resumes the run in this folder, started in the same way with as many processes.

        `option`: `--finish` publishes the run as it is.
        """
        script, arguments = sys.argv[0], [option, str(run)]
        if not script.endswith(".py") or Path(script).name == "__main__.py":  # python -m alexnet
            return str(Command("train", *arguments))
        python, local_size = Path(sys.executable), int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
        launcher = [shell_command(python)]
        if self.world_size > 1:
            nodes = ["--nnodes", str(self.world_size // local_size), "--rdzv-endpoint", "HOST:PORT"]
            torchrun = shell_command(python.with_name("torchrun"))
            nodes = nodes if local_size < self.world_size else []
            launcher = [torchrun, *nodes, "--nproc-per-node", str(local_size)]
        return shlex.join([*launcher, script, *arguments])

    def from_main(self, make: Callable[[], Value]) -> Value:
        """What `make` returns in the main process, the only one to call it, in all processes."""
        box = [make() if self.is_main else None]
        if self.world_size > 1:
            distributed.broadcast_object_list(box, 0, device=self.device)
        return cast(Value, box[0])

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all replicas, in place; both towers of a replica have the same values."""
        if self.replica_group is not None:
            distributed.all_reduce(values, group=self.replica_group)
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags.item())

    def barrier(self) -> None:
        """Wait until all processes have called it."""
        if self.world_size > 1:
            distributed.barrier()


def init_distributed(device: str, processes_per_network: int) -> DistributedContext:
    """Join the processes that torchrun started, or be the only one. Raises TrainingError."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    towers = processes_per_network
    if towers not in (1, 2):
        raise TrainingError(f"invalid --processes-per-network {towers}: choose 1 or 2")
    if world_size % towers:
        raise TrainingError(
            f"--processes-per-network 2 needs an even number of processes, got {world_size}: "
            "torchrun --nproc-per-node 2 training/run.py --processes-per-network 2 ..."
        )
    torch_device = torch.device(device, local_rank) if device == "cuda" else torch.device(device)
    if torch_device.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise TrainingError(
                f"{local_rank + 1} processes need as many GPUs, got {torch.cuda.device_count()}: lower --nproc-per-node"
            )
        torch.cuda.set_device(torch_device)
    if world_size == 1:
        return DistributedContext(torch_device)
    if not distributed.is_initialized():
        if torch_device.type == "cpu":  # torchrun gives each process one thread unless told otherwise
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        backend = "nccl" if torch_device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT, device_id=torch_device if backend == "nccl" else None)
    groups = [
        [distributed.new_group(list(ranks), timeout=TIMEOUT) for ranks in mesh]  # by all processes, in the same order
        for mesh in (
            [range(first, first + towers) for first in range(0, world_size, towers)],
            [range(tower, world_size, towers) for tower in range(towers)],
        )
    ]
    tower_group, replica_group = groups[0][rank // towers], groups[1][rank % towers]
    return DistributedContext(
        torch_device,
        rank,
        world_size,
        rank // towers,
        world_size // towers,
        DistributedExchange(tower_group) if towers > 1 else LocalExchange(),
        replica_group if world_size > towers else None,
    )


def shut_down_distributed() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class GradientAllReducer:
    """Sums the replicas' gradients during the backward pass, each parameter's as soon as it is complete.

    The network has about 16 parameter tensors, the largest ready first. So it needs no buckets like those of
    DistributedDataParallel, and the sum doesn't depend on how a batch was divided into micro-batches.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], group: distributed.ProcessGroup | None) -> None:
        self.group = group
        self.is_last_micro_batch = False
        """Whether the current pass is the last one of its step: earlier ones only accumulate gradients locally."""
        self._pending: list[distributed.Work] = []
        if group is not None:
            for parameter in (p for p in parameters if p.requires_grad):
                parameter.register_post_accumulate_grad_hook(self._send)  # type: ignore[no-untyped-call]

    def _send(self, parameter: Tensor) -> None:
        if self.is_last_micro_batch:
            work = distributed.all_reduce(parameter.grad, group=self.group, async_op=True)
            assert work is not None
            self._pending.append(work)

    def wait(self) -> None:
        """Wait until every gradient is that of the whole batch."""
        for work in self._pending:
            work.wait()
        self._pending.clear()
