"""Measure two towers in two processes (section 3.2), over gloo and NCCL: equality with one process, and speed.

On one GPU, both processes share it. If there are two GPUs, the towers are also measured on one GPU each.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from benchmarks.data_loading import NUM_IMAGES, create_engine, measure_loading, open_images, train_steps
from benchmarks.gpu.rows import PartOptions, RowWriter
from model.cpus import available_cpus
from model.network.tower_parallel import DistributedExchange, gather_state
from training.config import NetworkOptions, TrainingPrecision
from training.loop.distributed import DistributedContext

MAX_RELATIVE_DIFFERENCE = 1e-9
"""Maximum for losses and weights after a few steps in float64."""
TIMEOUT = timedelta(seconds=60)
"""How long a process waits for the other one."""
ONE_GPU_REFUSED = "Duplicate GPU"
"""Part of NCCL's error message if two processes share a GPU."""


class Placement(NamedTuple):
    """Where the towers run. `backend`: None for one process. `devices`: one per process."""

    name: str
    backend: str | None
    devices: tuple[str, ...]


class Work(NamedTuple):
    """The work of every process: a few steps in float64, then timed steps. `hidden`: None for the full network."""

    num_images: int
    num_equal_steps: int
    equal_batch: int
    timed_precision: TrainingPrecision
    timed_batch: int
    num_timed_steps: int
    hidden: int | None


def placements(device: str, num_gpus: int) -> list[Placement]:
    """One process, then two that share the device, then, with two GPUs, two with a GPU each."""
    if device == "cpu":
        return [Placement("one process", None, ("cpu",)), Placement("two processes, gloo", "gloo", ("cpu", "cpu"))]
    shared, own = ("cuda:0", "cuda:0"), ("cuda:0", "cuda:1")
    result = [Placement("one process", None, ("cuda:0",))]
    result += [Placement(f"two processes on one GPU, {backend}", backend, shared) for backend in ("gloo", "nccl")]
    if num_gpus > 1:
        result += [Placement(f"two processes on two GPUs, {backend}", backend, own) for backend in ("gloo", "nccl")]
    return result


def train_share(rank: int, placement: Placement, work: Work, images_folder: Path, folder: Path) -> None:
    """In each process: train its share of the network. The first one writes the whole network and the speed."""
    device = torch.device(placement.devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(max(1, available_cpus() // len(placement.devices)))
    context = DistributedContext(device)
    if placement.backend is not None:
        distributed.init_process_group(
            placement.backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=TIMEOUT
        )
        group = distributed.new_group([0, 1])
        context = DistributedContext(device, rank, 2, 0, 1, DistributedExchange(group))
    try:
        images = open_images(images_folder, work.num_images, 1000)
        network = NetworkOptions(hidden=work.hidden)
        engine = create_engine(images, context, work.equal_batch, "float64", network=network)
        losses = train_steps(engine, work.num_equal_steps)
        weights = gather_state(engine.network.state_dict(), engine.spec, context.exchange)
        del engine
        engine = create_engine(images, context, work.timed_batch, work.timed_precision, network=network)
        row = measure_loading(engine, work.num_timed_steps, 2)
        if rank == 0:
            torch.save({"losses": losses, "weights": weights, "row": row}, folder / "result.pt")
    finally:
        if placement.backend is not None:
            distributed.destroy_process_group()


def run(placement: Placement, work: Work, images_folder: Path) -> dict[str, Any]:
    """Losses and weights of the steps in float64, and the row of the timed steps. Raises what a process raises."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (placement, work, images_folder, Path(folder))
        spawn(train_share, arguments, nprocs=len(placement.devices))  # type: ignore[no-untyped-call]
        result: dict[str, Any] = torch.load(Path(folder) / "result.pt", weights_only=True)
        return result


def largest_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest difference of losses and weights, relative to the largest value of each tensor."""
    pairs = [(torch.tensor(ours["losses"]), torch.tensor(theirs["losses"]))]
    pairs += [(tensor, theirs["weights"][name]) for name, tensor in ours["weights"].items()]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)) for a, b in pairs)


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Measure each placement's images per second, and check that it computes what one process does."""
    work = (
        Work(64, 3, 4, "float32", 4, 2, 16) if options.is_quick else Work(NUM_IMAGES, 5, 32, "bfloat16", 512, 20, None)
    )
    on_gpu = options.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        open_images(Path(folder), work.num_images, 1000)
        alone: dict[str, Any] | None = None
        for placement in placements(options.device, torch.cuda.device_count() if on_gpu else 0):
            try:
                result = run(placement, work, Path(folder))
            except Exception as error:
                write = rows.leave_out if ONE_GPU_REFUSED in str(error) else rows.fail
                write(placement.name, str(error))
                continue
            rows.measure(placement.name, partial(dict, result["row"]))
            if alone is None:
                alone = result
            else:
                name = f"{placement.name}: against one process"
                rows.require_at_most(name, largest_difference(result, alone), MAX_RELATIVE_DIFFERENCE)
    if on_gpu and torch.cuda.device_count() < 2:
        rows.leave_out("two processes on two GPUs", "there is only one GPU")
    if not on_gpu:
        rows.leave_out("NCCL", "only GPUs have it")
