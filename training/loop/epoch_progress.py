"""The progress of one epoch: a bar on a terminal, else a line every minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from training.loop.clock import RunClock
from training.loop.distributed import DistributedContext
from training.loop.engine import EpochTotals
from training.loop.status import LOG_SECONDS, refreshed


class EpochProgress:
    """Shows how many of the `num_images` of an epoch are done, and the loss and error so far."""

    def __init__(
        self, bar: tqdm[Any], title: str, num_images: int, clock: RunClock, context: DistributedContext
    ) -> None:
        self.bar, self.title, self.num_images, self.clock, self.context = bar, title, num_images, clock, context
        self.first_images, self.first_step = round(bar.n), -1
        self.started = self.logged = time.monotonic()

    def show(self, totals: EpochTotals, epoch: int, step: int, stall_seconds: float) -> None:
        """Show the state after `step` steps of the epoch."""
        now = time.monotonic()
        passed = now - self.started
        steps = (totals.images - self.first_images) * step / totals.images  # that this process has made
        remaining = self.clock.remaining_seconds(epoch, step, max(steps, 1e-9) / passed)
        state = (
            f"loss {totals.mean_loss:.3f} error {100 * totals.top1_error:.1f} % "
            f"data stall {100 * stall_seconds / passed:.0f} % run ETA {tqdm.format_interval(remaining)}"
        )
        self.bar.update(min(totals.images, self.num_images) - self.bar.n)
        self.bar.set_postfix_str(state)
        if self.bar.disable and now - self.logged > LOG_SECONDS:
            self.logged = now
            self.context.log(f"{self.title}: {totals.images:,} of {self.num_images:,} images, {state}")


@contextmanager
def epoch_progress(
    title: str, num_images: int, done: int, clock: RunClock, context: DistributedContext
) -> Iterator[EpochProgress]:
    """The progress of an epoch of which `done` images are done; shown by the main process."""
    disable = None if context.is_main else True  # None: no bar without a terminal
    with (
        tqdm(total=num_images, initial=done, desc=title, unit="image", leave=False, disable=disable) as bar,
        refreshed(bar),
    ):
        yield EpochProgress(bar, title, num_images, clock, context)
