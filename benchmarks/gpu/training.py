"""Measure training steps: speed by precision and batch size, share of the peak, and losses compared with the CPU's.

The steps are those of training/run.py, with images from the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch

from benchmarks.data_loading import SyntheticImages, create_engine, create_images, measure_loading, train_steps
from benchmarks.gpu.peaks import measure_peak_tflops, tf32
from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.timing import GFLOP_PER_IMAGE
from model.cpus import available_cpus
from model.malloc import keep_freed_memory
from training.config import DeviceCache, NetworkOptions, TrainingPrecision
from training.loop.distributed import DistributedContext

StepPrecision = Literal["float32", "TF32", "bfloat16"]
MAX_LOSS_DIFFERENCES: dict[StepPrecision, float] = {"float32": 0.01, "TF32": 0.02, "bfloat16": 0.05}
"""Maximum mean absolute difference of a step's loss from the CPU's in float32; losses fall from 2.3 to almost 0."""
NUM_CLASSES = 10


class Setting(NamedTuple):
    """How a step computes. `device_cache`: `auto` keeps images on a GPU."""

    precision: StepPrecision
    batch_size: int
    is_compiled: bool = False
    recipe: str = "paper"
    device_cache: DeviceCache = "auto"

    @property
    def name(self) -> str:
        places = {"auto": "", "yes": ", images in the device's memory", "no": ", images copied"}
        recipe = "" if self.recipe == "paper" else f", recipe {self.recipe}"
        compiled = ", compiled" if self.is_compiled else ""
        return f"{self.precision}, batch {self.batch_size}{compiled}{recipe}{places[self.device_cache]}"


def settings(options: PartOptions) -> Iterator[Setting]:
    """Settings to measure, most important first, because a part that runs out of time has only the first rows."""
    if options.is_quick:
        yield from (Setting(precision, 4) for precision in ("float32", "bfloat16"))
        yield Setting("bfloat16", 4, recipe="photos", device_cache="yes")
        return
    for batch_size in (512, 128, 1024, 256):
        yield Setting("bfloat16", batch_size)
    yield Setting("bfloat16", 512, device_cache="no")
    yield Setting("bfloat16", 512, recipe="photos")
    yield Setting("bfloat16", 512, recipe="photos", device_cache="no")
    for precision in ("float32", "TF32"):
        yield from (Setting(precision, batch_size) for batch_size in (128, 512, 1024))


def compiled_settings(options: PartOptions) -> Iterator[Setting]:
    """Settings with torch.compile, which takes about a minute each."""
    if not options.is_quick:
        yield from (Setting("bfloat16", batch_size, True) for batch_size in (512, 128, 1024))
        yield from (Setting(precision, 128, True) for precision in ("float32", "TF32"))


def engine_precision(precision: StepPrecision) -> TrainingPrecision:
    """The engine's name for a precision: it treats TF32 as float32."""
    return "float32" if precision == "TF32" else precision


def measure_setting(
    setting: Setting, images: SyntheticImages, options: PartOptions, peaks: dict[StepPrecision, float]
) -> dict[str, float]:
    """Images per second, the share of the time spent waiting for images, and the share of the peak."""
    torch._dynamo.reset()
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # memory of the previous setting, in blocks of other sizes
    engine = create_engine(
        images,
        DistributedContext(device),
        setting.batch_size,
        engine_precision(setting.precision),
        setting.is_compiled,
        recipe=setting.recipe,
        device_cache=setting.device_cache,
    )
    with tf32(setting.precision == "TF32"):  # the engine has turned it off
        row = measure_loading(engine, *((2, 1) if options.is_quick else ()))
    used = row["images_per_second"] * GFLOP_PER_IMAGE / 1000
    return row | {"tflops": used, "fraction_of_peak": used / peaks[setting.precision]}


def compare_losses(options: PartOptions, rows: RowWriter) -> None:
    """Compare the losses of 200 steps with the CPU's, without dropout, whose random numbers differ by device."""
    steps, batch_size, hidden = (3, 4, 16) if options.is_quick else (200, 16, 512)
    network = NetworkOptions(dropout=0.0, hidden=hidden)
    with create_images(batch_size * 16, NUM_CLASSES) as images:

        def train(device: str, precision: StepPrecision) -> dict[str, list[float]]:
            context = DistributedContext(torch.device(device))
            engine = create_engine(images, context, batch_size, engine_precision(precision), network=network)
            with tf32(precision == "TF32"):
                return {"losses": train_steps(engine, steps)}

        expected = rows.measure("losses on the CPU, float32", partial(train, "cpu", "float32"))
        if expected is None:
            return
        for precision, limit in MAX_LOSS_DIFFERENCES.items():
            name = f"losses, {precision}"
            if precision == "TF32" and options.device == "cpu":
                rows.leave_out(name, "only GPUs have TF32")
            elif (trained := rows.measure(name, partial(train, options.device, precision))) is not None:
                difference = float(np.abs(np.subtract(trained["losses"], expected["losses"])).mean())
                rows.require_at_most(f"{name}, against the CPU", difference, limit)


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Measure speed without torch.compile, then the losses, then speed with torch.compile."""
    torch.set_num_threads(available_cpus())
    keep_freed_memory()
    precisions = {setting.precision for setting in settings(options)}
    peaks = {precision: measure_peak_tflops(precision, options) for precision in precisions}
    with create_images(*((64, NUM_CLASSES) if options.is_quick else ())) as images:
        for setting in settings(options):
            rows.measure(setting.name, partial(measure_setting, setting, images, options, peaks))
        compare_losses(options, rows)
        if options.device == "cpu":
            rows.leave_out("compiled", "on the CPU, training doesn't use torch.compile")
            return
        for setting in compiled_settings(options):
            rows.measure(setting.name, partial(measure_setting, setting, images, options, peaks))
