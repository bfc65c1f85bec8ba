"""Trials before the first epoch: which number of threads is fastest, and which learning rate lowers the loss most."""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from model.cpus import available_cpus
from training.data.augment import shuffle_rows
from training.loop.status import stage
from training.loop.trainer import Trainer
from training.optim.range_test import NUM_STEPS, RangeTest, find_rate, has_diverged, rate_of_step

MIN_STEPS_FOR_TRIAL = 300
"""In runs of at least this many steps, trying numbers of threads is worth the time."""
TRIAL_BATCH = 32


def choose_threads(trainer: Trainer, resumed: int | None) -> None:
    """Set the number of threads on the CPU: `--threads`, that of a `resumed` run, or what a short trial finds fastest.

    All cores aren't always faster than one: other programs may use them. Without `--threads`, nothing is changed if
    there are several processes or if OMP_NUM_THREADS is set.
    """
    context, num_threads = trainer.context, trainer.config.environment.threads
    if context.device.type != "cpu":
        return
    if num_threads:
        torch.set_num_threads(num_threads)
        return
    if context.world_size > 1 or "OMP_NUM_THREADS" in os.environ:
        return
    if resumed is not None:  # the last bits of sums depend on the threads
        torch.set_num_threads(min(resumed, available_cpus()))
        return
    candidates = _thread_counts(torch.get_num_threads())
    steps = trainer.recipe.epochs * trainer.steps_per_epoch
    if len(candidates) < 2 or (steps < MIN_STEPS_FOR_TRIAL and not trainer.recipe.minutes):
        return
    with stage("finding the fastest number of threads", context.is_main):
        seconds = {threads: _time_pass(trainer, threads) for threads in candidates}
    torch.set_num_threads(min(candidates, key=lambda threads: seconds[threads]))


def _thread_counts(max_threads: int) -> list[int]:
    """All cores, half of them, and so on down to one."""
    return [max_threads >> shift for shift in range(max_threads.bit_length())]


def _time_pass(trainer: Trainer, threads: int) -> float:
    """Seconds that the second of two forward and backward passes of zeros takes; no weight is changed."""
    torch.set_num_threads(threads)
    engine = trainer.engine
    count = min(TRIAL_BATCH, engine.recipe.batch_size, engine.micro_batch or TRIAL_BATCH)
    size = engine.spec.config.input_size
    pixels = torch.zeros(count, 3, size, size, dtype=engine.dtype).contiguous(memory_format=torch.channels_last)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=engine.precision == "bfloat16"):
            logits = engine.network(pixels).logits
        F.cross_entropy(logits.to(engine.dtype), torch.zeros(count, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - started
    engine.optimizer.zero_grad()
    return seconds


def run_range_test(trainer: Trainer, fitted: bool) -> RangeTest:
    """Run a hundred steps at ever higher learning rates; called by all processes. `fitted`: see `find_rate`.

    The trainer's weights are unusable afterwards.
    """
    engine = trainer.engine
    rates, losses = list[float](), list[float]()

    def before_step(number: int) -> bool:
        rates.append(rate_of_step(len(rates)))
        factor = rates[-1] / engine.recipe.learning_rate
        engine.optimizer.set_learning_rates(engine.learning_rates(1.0, 0, factor))
        return True

    for epoch in range(NUM_STEPS):  # an epoch may have a single step
        order = shuffle_rows(trainer.train_rows, trainer.config.run.seed, epoch)
        for _, sums in engine.run_epoch(order, epoch, 0, before_step):
            loss, _, images = _take(trainer, sums)
            losses.append(loss / images)
            if len(losses) == NUM_STEPS or has_diverged(losses):
                return find_rate(rates, losses, fitted)
    raise AssertionError("an epoch has at least one step")


def _take(trainer: Trainer, sums: Tensor) -> list[float]:
    """The sums over all processes since the last call."""
    values: list[float] = trainer.context.all_reduce(sums.clone()).tolist()
    sums.zero_()
    return values
