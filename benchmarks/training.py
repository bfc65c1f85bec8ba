"""Measure a training step, response normalization and data loading, compared with PyTorch's own modules.

    python -m benchmarks.training

Both implementations take turns on the same batch, so that a change in the machine's speed affects both. They run in
separate processes, because training/run.py tells the allocator to keep memory and a plain PyTorch program doesn't. Each
figure is the median over rounds; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baselines.torch_alexnet import TorchAlexNet
from benchmarks.command import run_main
from benchmarks.data_loading import create_engine, create_images, measure_loading
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.timing import GFLOP_PER_IMAGE, measure_matrix_tflops, median_ratio, time_call
from model.cpus import available_cpus
from model.huge_pages import use_huge_pages
from model.lrn.functional import local_response_norm
from model.malloc import keep_freed_memory
from model.network.initialization import initialize
from model.network.registry import build_spec
from model.network.torch_module import AlexNet
from training.config import TrainingDevice, TrainingPrecision
from training.data.augment import Augmentation
from training.data.crop_kernels import cut_crops
from training.loop.distributed import DistributedContext
from training.loop.frozen_features import num_frozen_layers
from training.loop.runtime import pick_device, pick_precision
from training.loop.trainer import HUGE_PAGES_STEP
from training.optim.dropout import dropout_masks
from training.optim.sgd import MomentumSGD, scheduled_learning_rates
from training.recipes import RECIPES

FROZEN = ("conv1", "conv2", "conv3", "conv4", "conv5")
PRECISIONS: tuple[TrainingPrecision, ...] = ("float32", "bfloat16")
COMPARISONS = (
    ("float32", False, False),
    ("bfloat16", False, False),
    ("bfloat16", True, False),
    ("float32", False, True),
)
"""Our precision; whether PyTorch's modules are tuned as its guide advises; whether they have our allocator setting."""
CreateStep = Callable[..., Callable[[], None]]


def measure_pair(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> dict[str, float]:
    """Run both in turns, after a warm-up round. Returns their median seconds and how many times faster ours is."""
    pairs = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    our_times, their_times = zip(*pairs, strict=True)
    return {
        "ours_seconds": statistics.median(our_times),
        "theirs_seconds": statistics.median(their_times),
        "ratio": median_ratio(their_times, our_times),
    }


def _run_steps(
    pipe: Connection, keeps_memory: bool, huge_pages: bool, create_step: CreateStep, arguments: tuple[Any, ...]
) -> None:
    """In a separate process: one timed step for each message, until there are no more."""
    if keeps_memory:
        keep_freed_memory()
    torch.set_num_threads(available_cpus())
    step = create_step(*arguments)
    if huge_pages:
        for _ in range(HUGE_PAGES_STEP):
            step()
        use_huge_pages()
    while pipe.recv():
        pipe.send(time_call(step, arguments[1]))


@contextmanager
def separate_process(
    keeps_memory: bool, create_step: CreateStep, *arguments: Any, huge_pages: bool | None = None
) -> Iterator[Callable[[], float]]:
    """A function that runs one step in a separate process and returns its seconds.

    `keeps_memory`: use the allocator setting of training/run.py. `arguments`: of `create_step`; the second is the
    device. `huge_pages`: move the process's memory to huge pages, as training/run.py does; by default as
    `keeps_memory`. Raises SystemExit if the process ends.
    """
    context = get_context("spawn")
    connection, remote = context.Pipe()
    huge_pages = keeps_memory if huge_pages is None else huge_pages
    arguments_of_process = (remote, keeps_memory, huge_pages, create_step, arguments)
    process = context.Process(target=_run_steps, args=arguments_of_process, daemon=True)
    process.start()
    remote.close()  # so that the end of the other process is noticed

    def run_step() -> float:
        try:
            connection.send(True)
            seconds: float = connection.recv()
        except (EOFError, OSError):
            raise SystemExit("a process of the benchmark has ended: see its error above") from None
        return seconds

    try:
        yield run_step
    finally:
        process.terminate()  # before its connection ends, which it would report as an error
        process.join()
        connection.close()


def create_our_step(
    batch_size: int,
    device: torch.device,
    precision: str,
    is_compiled: bool,
    frozen: Collection[str] = (),
    is_cached: bool = False,
) -> Callable[[], None]:
    """One step of our network and optimizer on a fixed batch. `is_cached`: outputs of `frozen` layers are cached."""
    recipe = RECIPES["paper"]
    spec = build_spec(recipe.network)
    network = AlexNet(spec)
    initialize(network, "source", 0)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] not in frozen)
    rates = scheduled_learning_rates(spec, recipe, 1e-3, 0, {})
    optimizer = MomentumSGD(network.named_parameters(), rates, recipe)
    forward = torch.compile(network) if is_compiled else network
    x = _draw_images(batch_size, device).contiguous(memory_format=torch.channels_last)
    start_layer = 0
    if is_cached:
        trained = {layer.name for layer in spec.weighted_layers} - set(frozen)
        start_layer = num_frozen_layers(spec.feature_layers, trained)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            x = network.run_first_layers(x, start_layer)
    labels, number = torch.arange(batch_size, device=device) % 1000, 0

    def step() -> None:
        nonlocal number
        number += 1
        masks = dropout_masks(spec, network.exchange, 0, number, batch_size, x)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(x, masks, start_layer).logits
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def create_torch_step(batch_size: int, device: torch.device, is_tuned: bool = False) -> Callable[[], None]:
    """One eager step of PyTorch's modules and torch.optim.SGD on a fixed batch.

    By default in float32 with PyTorch's defaults. `is_tuned`: channels-last, bfloat16 autocast and the fused optimizer,
    as PyTorch's guide advises.
    """
    network, x = TorchAlexNet(norm=nn.LocalResponseNorm).to(device), _draw_images(batch_size, device)
    if is_tuned:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-5, momentum=0.9, weight_decay=5e-4, fused=is_tuned)
    labels = torch.arange(batch_size, device=device) % 1000

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=is_tuned):
            logits = network(x)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def create_normalization(normalize: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """Forward and backward pass of a normalization of `x`. `gradient`: with respect to the output."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def step() -> None:
        x.grad = None
        normalize(x).backward(gradient)  # type: ignore[no-untyped-call]

    return step


def _draw_images(batch_size: int, device: torch.device) -> Tensor:
    return 58 * torch.randn(batch_size, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)


def choose_precisions(device: torch.device) -> tuple[TrainingPrecision, ...]:
    """The precisions to measure: without bfloat16 if the machine computes it in software."""
    return PRECISIONS if pick_precision("auto", device) == "bfloat16" else ("float32",)


def measure_steps(
    batch_size: int, device: torch.device, is_compiled: bool, rounds: int, precisions: Sequence[TrainingPrecision]
) -> dict[str, dict[str, float]]:
    """Measure a step of ours in each of `precisions`, and of PyTorch's modules."""
    rows = {}
    for precision, is_tuned, keeps_memory in COMPARISONS:
        if precision not in precisions:
            continue
        with (
            separate_process(True, create_our_step, batch_size, device, precision, is_compiled) as ours,
            separate_process(keeps_memory, create_torch_step, batch_size, device, is_tuned) as theirs,
        ):
            row = measure_pair(ours, theirs, rounds)
        row["images_per_second"] = batch_size / row["ours_seconds"]
        row["theirs_images_per_second"] = batch_size / row["theirs_seconds"]
        name = "bfloat16, channels-last, fused" if is_tuned else "float32"
        name += ", our allocator setting and huge pages" if keeps_memory else ""
        rows[f"ours in {precision}, PyTorch in {name}"] = row
    return rows


def measure_frozen_steps(
    batch_size: int, device: torch.device, is_compiled: bool, rounds: int, precisions: Sequence[TrainingPrecision]
) -> dict[str, dict[str, float]]:
    """Measure a step with frozen convolutions, compared with a step that trains all layers."""
    rows = {}
    for name, is_cached in (("frozen", False), ("frozen, their outputs cached", True)):
        for precision in precisions:
            arguments = (batch_size, device, precision, is_compiled)
            with (
                separate_process(True, create_our_step, *arguments, FROZEN, is_cached) as frozen,
                separate_process(True, create_our_step, *arguments) as all_layers,
            ):
                row = measure_pair(frozen, all_layers, rounds)
            row["images_per_second"] = batch_size / row["ours_seconds"]
            rows[f"conv1 to conv5 {name}, in {precision}"] = row
    return rows


def measure_normalizations(batch_size: int, device: torch.device, rounds: int) -> dict[str, dict[str, float]]:
    """Measure forward and backward pass of response normalization in float32, ours and PyTorch's."""
    rows = {}
    for shape in ((batch_size, 96, 55, 55), (batch_size, 256, 27, 27)):
        x = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
        gradient, channels_last = torch.randn_like(x), {"memory_format": torch.channels_last}
        ours = create_normalization(
            lambda x: local_response_norm(x, 2), x.contiguous(**channels_last), gradient.contiguous(**channels_last)
        )
        theirs = create_normalization(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), x, gradient)
        name = f"response normalization, {'x'.join(map(str, shape[1:]))}"
        rows[name] = measure_pair(partial(time_call, ours, device), partial(time_call, theirs, device), rounds)
    return rows


def measure_cropping() -> float:
    """Augmented 224 x 224 crops per second that one core cuts out of a cache in memory, random draws included."""
    num_images, batch_size, num_epochs = 2000, 128, 5
    images = np.random.default_rng(0).integers(0, 256, (num_images, 256, 256, 3), dtype=np.uint8)
    augmentation = Augmentation.create(RECIPES["paper"], 4000 * np.eye(3), 0)
    order = np.random.default_rng(1).permutation(num_images)
    crops = np.empty((batch_size, 224, 224, 3), np.uint8)
    cut_crops(images, augmentation.draw(0, order[:batch_size], order[:batch_size]), crops)
    start_time, count = time.thread_time(), 0
    for epoch in range(num_epochs):
        for start in range(0, num_images - batch_size, batch_size):
            rows = order[start : start + batch_size]
            cut_crops(images, augmentation.draw(epoch, rows, rows), crops)
            count += batch_size
    return count / (time.thread_time() - start_time)


def main(
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds of each pair.")] = 5,
    device: Annotated[TrainingDevice, typer.Option(help="The device.")] = "auto",
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile for our step.")] = False,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, and write a dated result."""
    torch_device = torch.device(pick_device(device))
    torch.set_num_threads(available_cpus())
    keep_freed_memory()
    precisions = choose_precisions(torch_device)
    if "bfloat16" not in precisions:
        typer.echo("bfloat16 is left out: this machine has no instructions for it")
    tflops = {name: measure_matrix_tflops(torch_device, getattr(torch, name)) for name in precisions}
    typer.echo("matrix products, TFLOP/s: " + ", ".join(f"{speed:.2f} in {name}" for name, speed in tflops.items()))
    steps = measure_steps(batch_size, torch_device, compile_, rounds, precisions)
    for name, row in steps.items():
        peak = tflops["float32" if name.startswith("ours in float32") else "bfloat16"]
        row["fraction_of_peak"] = row["images_per_second"] * GFLOP_PER_IMAGE / 1000 / peak
    steps |= measure_frozen_steps(batch_size, torch_device, compile_, rounds, precisions)
    steps |= measure_normalizations(batch_size, torch_device, rounds)
    typer.echo(format_table(steps))
    with create_images() as images:
        loading = {
            f"with images from the cache, in {precision}": measure_loading(
                create_engine(images, DistributedContext(torch_device), batch_size, precision, compile_)
            )
            for precision in precisions
        }
    typer.echo(format_table(loading))
    crops_per_second = measure_cropping()
    typer.echo(f"crops from the cache: {crops_per_second:,.0f} per second and core")
    if torch_device.type != "cuda":
        typer.echo("no GPU here: on a machine with one, add --device cuda --batch-size 1024 --compile")
    result: dict[str, Any] = {
        "batch_size": batch_size,
        "matrix_tflops": tflops,
        "steps": steps,
        "loading": loading,
        "crops_per_second_per_core": crops_per_second,
    }
    write_result(output, f"training-{torch_device.type}", result, torch_device.type)


if __name__ == "__main__":
    run_main(main)
