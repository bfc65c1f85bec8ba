"""`python -m benchmarks.training`: a training step, its normalization and its input, beside PyTorch's stock modules.

Both sides take turns on the same batch, so that a change of the machine's speed meets both; in processes of their own,
because training/run.py tells the allocator to keep memory and a plain PyTorch program doesn't. Each figure is the
median of its turns; a ratio is the median of the ratios of neighboring turns. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baselines.torch_alexnet import Stock
from benchmarks.data_loading import measure_loading
from benchmarks.results import RESULTS, OutputOption, commit, machine, matrix_peak, timed, write
from model.lrn.functional import local_response_norm
from model.network.initialization import initialize
from model.network.registry import build_spec
from model.network.torch_module import AlexNet
from model.runtime import available_cpus
from training.config import TrainingDevice, TrainingPrecision
from training.data.augment import Augmentation
from training.data.crop_kernels import cut_crops
from training.loop.frozen_features import num_frozen_layers
from training.loop.runtime import disable_malloc_trim, pick_device
from training.optim.dropout import dropout_masks
from training.optim.sgd import MomentumSGD, scheduled_learning_rates
from training.recipes import RECIPES

GFLOP = 3 * 2 * 0.7246
"""An image's step: 724.6 M multiply-adds forward, twice that backward (see docs/performance.md)."""


FROZEN = ("conv1", "conv2", "conv3", "conv4", "conv5")
SIDES = (
    ("float32", False, False),
    ("bfloat16", False, False),
    ("bfloat16", True, False),
    ("float32", False, True),
)
"""Our precision; whether stock is tuned as PyTorch's guide advises; whether stock gets our allocator setting, too."""


def paired(ours: Callable[[], float], theirs: Callable[[], float], turns: int) -> dict[str, float]:
    """Seconds of both, in `turns` turns after one that isn't measured, and how many times faster we are."""
    pairs = [(ours(), theirs()) for _ in range(turns + 1)][1:]
    return {
        "ours_seconds": statistics.median(a for a, _ in pairs),
        "theirs_seconds": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def _serve(pipe: Connection, keep: bool, make: Callable[..., Callable[[], None]], arguments: tuple[Any, ...]) -> None:
    """In a process of its own: one timed step for each message, until there are no more."""
    if keep:
        disable_malloc_trim()
    torch.set_num_threads(available_cpus())
    step = make(*arguments)
    while pipe.recv():
        pipe.send(timed(step, arguments[1]))


@contextmanager
def separate_process(
    keep: bool, make: Callable[..., Callable[[], None]], *arguments: Any
) -> Iterator[Callable[[], float]]:
    """A side in a process of its own; each call is one step there. `keep`: the allocator as in training/run.py."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, keep, make, arguments), daemon=True)
    process.start()
    there.close()  # so that the end of the other process is seen here

    def turn() -> float:
        try:
            here.send(True)
            seconds: float = here.recv()
        except (EOFError, OSError):
            raise SystemExit("one side has ended: see its error above") from None
        return seconds

    try:
        yield turn
    finally:
        here.close()
        process.terminate()
        process.join()


def step_of_ours(
    batch: int, device: torch.device, precision: str, compiled: bool, frozen: Collection[str] = (), cached: bool = False
) -> Callable[[], None]:
    """One step of our network and optimizer on a fixed batch. `cached`: with what the `frozen` layers return for it."""
    recipe = RECIPES["paper"]
    spec = build_spec(recipe.network)
    network = AlexNet(spec)
    initialize(network, "source", 0)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.partition(".")[0] not in frozen)
    rates = scheduled_learning_rates(spec, recipe, 1e-3, 0, {})
    optimizer = MomentumSGD(network.named_parameters(), rates, recipe)
    forward = torch.compile(network) if compiled else network
    x = _images(batch, device).contiguous(memory_format=torch.channels_last)
    first_layer = 0
    if cached:
        trained = {layer.name for layer in spec.weighted_layers} - set(frozen)
        first_layer = num_frozen_layers(spec.feature_layers, trained)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            x = network.run_first(x, first_layer)
    y, number = torch.arange(batch, device=device) % 1000, 0

    def step() -> None:
        nonlocal number
        number += 1
        masks = dropout_masks(spec, network.exchange, 0, number, batch, x)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(x, masks, first_layer).logits
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_of_stock(batch: int, device: torch.device, tuned: bool = False) -> Callable[[], None]:
    """One step of the stock modules, eager: in float32 with torch.optim.SGD as it comes, or `tuned` by what PyTorch's
    guide advises, channels-last, bfloat16 autocast and the fused optimizer."""
    network, x = Stock(norm=nn.LocalResponseNorm).to(device), _images(batch, device)
    if tuned:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-5, momentum=0.9, weight_decay=5e-4, fused=tuned)
    y = torch.arange(batch, device=device) % 1000

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=tuned):
            logits = network(x)
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def normalization(work: Callable[[Tensor], Tensor], x: Tensor, above: Tensor) -> Callable[[], None]:
    """Forward and backward of a normalization of `x`."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def step() -> None:
        x.grad = None
        work(x).backward(above)  # type: ignore[no-untyped-call]

    return step


def _images(batch: int, device: torch.device) -> Tensor:
    return 58 * torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)


def crops_per_second(images: int = 2000, batch: int = 128) -> float:
    """Augmented 224 x 224 crops per second that one core cuts out of a cache in memory, random draws included."""
    stored = np.random.default_rng(0).integers(0, 256, (images, 256, 256, 3), dtype=np.uint8)
    augmentation = Augmentation.create(RECIPES["paper"], 4000 * np.eye(3), 0)
    order = np.random.default_rng(1).permutation(images)
    out = np.empty((batch, 224, 224, 3), np.uint8)
    cut_crops(stored, augmentation.draw(0, order[:batch], order[:batch]), out)
    started, count = time.thread_time(), 0
    for epoch in range(5):
        for start in range(0, images - batch, batch):
            rows = order[start : start + batch]
            cut_crops(stored, augmentation.draw(epoch, rows, rows), out)
            count += batch
    return count / (time.thread_time() - started)


def main(
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 128,
    turns: Annotated[int, typer.Option(min=1, help="Measured turns of each pair.")] = 5,
    device: Annotated[TrainingDevice, typer.Option(help="The device.")] = "auto",
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile for our step.")] = False,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, and write a dated result."""
    on = torch.device(pick_device(device))
    torch.set_num_threads(available_cpus())
    disable_malloc_trim()
    result: dict[str, Any] = {
        "date": f"{date.today()}",
        "batch_size": batch_size,
        "machine": machine(on),
        "commit": commit(),
    }
    peaks = {name: matrix_peak(on, dtype) for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
    result["matrix_tflops"] = peaks
    typer.echo(f"matrix products, TFLOP/s: {peaks['float32']:.2f} in float32, {peaks['bfloat16']:.2f} in bfloat16")
    for precision, tuned, keep in SIDES:
        with (
            separate_process(True, step_of_ours, batch_size, on, precision, compile_) as ours,
            separate_process(keep, step_of_stock, batch_size, on, tuned) as theirs,
        ):
            measured = paired(ours, theirs, turns)
        measured["images_per_second"] = batch_size / measured["ours_seconds"]
        measured["theirs_images_per_second"] = batch_size / measured["theirs_seconds"]
        name = "bfloat16, channels-last, fused" if tuned else "float32"
        name += ", our allocator" if keep else ""
        result[f"ours in {precision}, stock in {name}"] = measured
        typer.echo(
            f"step, ours in {precision}: {measured['images_per_second']:.1f} images/s "
            f"({measured['images_per_second'] * GFLOP / 1000 / peaks[precision]:.2f} of the peak), stock in {name}: "
            f"{measured['theirs_images_per_second']:.1f}; ratio {measured['ratio']:.2f}"
        )
    for name, cached in (("frozen", False), ("frozen, their outputs cached", True)):
        for precision in ("float32", "bfloat16"):
            with (
                separate_process(True, step_of_ours, batch_size, on, precision, compile_, FROZEN, cached) as ours,
                separate_process(True, step_of_ours, batch_size, on, precision, compile_) as theirs,
            ):
                measured = paired(ours, theirs, turns)
            measured["images_per_second"] = batch_size / measured["ours_seconds"]
            result[f"conv1 to conv5 {name}, in {precision}"] = measured
            typer.echo(
                f"step, conv1 to conv5 {name}, in {precision}: {measured['images_per_second']:.1f} images/s, "
                f"{measured['ratio']:.2f} of all layers"
            )
    for shape in ((batch_size, 96, 55, 55), (batch_size, 256, 27, 27)):
        x = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(on)
        above, last = torch.randn_like(x), {"memory_format": torch.channels_last}
        ours_ = normalization(lambda x: local_response_norm(x, 2), x.contiguous(**last), above.contiguous(**last))
        theirs_ = normalization(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), x, above)
        measured = paired(partial(timed, ours_, on), partial(timed, theirs_, on), turns)
        result[f"lrn_{shape[1]}x{shape[2]}x{shape[3]}"] = measured
        typer.echo(
            f"response normalization, forward and backward, float32, {shape}: "
            f"{1000 * measured['ours_seconds']:.1f} ms, stock {1000 * measured['theirs_seconds']:.1f} ms; "
            f"ratio {measured['ratio']:.1f}"
        )
    precisions: tuple[TrainingPrecision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        result[f"from a cache in {precision}"] = loading = measure_loading(batch_size, on, precision, compile_)
        typer.echo(
            f"steps with images from a cache, in {precision}: {loading['images_per_second']:.1f} "
            f"images/s, {100 * loading['data_stall']:.1f} % of the time waiting for images"
        )
    result["crops_per_second_per_core"] = crops_per_second()
    typer.echo(f"crops from the cache: {result['crops_per_second_per_core']:,.0f} per second and core")
    if on.type != "cuda":
        typer.echo("no GPU here: run this again with --device cuda --batch-size 1024 --compile where there is one")
    typer.echo(f"written: {write(result, output, f'training-{on.type}')}")


if __name__ == "__main__":
    typer.run(main)
