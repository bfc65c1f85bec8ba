"""The training loop: epochs over the cache, validation, the schedule, checkpoints, and a log line an epoch."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from model.exceptions import DatasetError, StoppedError, TrainingError
from model.network.tower_parallel import gather_state, split
from training.config import RunConfig
from training.data.cache import ImageCache
from training.data.datasets import Dataset
from training.loop import checkpoint, diagnostics
from training.loop.distributed import Processes
from training.loop.graceful_stop import StopWish
from training.loop.metrics import RunLog
from training.loop.train_step import Learner
from training.optim import schedule
from training.optim.initial_weights import Start

SAVE_SECONDS = 600
QUIET_SECONDS = 60
"""How long a run without a terminal says nothing."""
LOOK_STEPS = {"cpu": 1, "cuda": 20}
"""Steps after which a loss is read: on a GPU each reading waits for all that is under way."""


class Trainer:
    """One run's network, optimizer, schedule and position; `fit` trains it to the end.

    After `fit` the network holds the weights of the last epoch. With several processes each has a Trainer; all of them
    call the same methods.
    """

    def __init__(
        self, config: RunConfig, dataset: Dataset, cache: ImageCache, run: Path, processes: Processes, start: Start
    ) -> None:
        self.config, self.dataset, self.cache, self.run, self.processes = config, dataset, cache, run, processes
        self.start = replace(start, weights={})
        self.learner = Learner(config, dataset, cache, processes, start)
        self.recipe = self.learner.recipe
        self.schedule = schedule.start(self.recipe)
        self.epoch = self.step = 0
        self.totals = torch.zeros(3, dtype=torch.float64)  # of the epoch so far: loss, wrong, images
        self.train_rows = cache.rows(dataset, "train")
        self.validation_rows = cache.rows(dataset, "validation")
        for part, examples in dataset.parts().items():
            if (examples or part == "validation") and not len(cache.rows(dataset, part)):
                raise DatasetError(f"expected readable images in the {part} part, found none")
        self.lock: IO[str] | None = None
        """Held open as long as this process works on the run (see `training.run`)."""

    def fit(self) -> None:
        """Train to the recipe's end. Ctrl-C saves where the run is, and StoppedError says how to go on."""
        log = RunLog(self.run, self.epoch) if self.processes.first else None
        try:
            with StopWish() as self._wish:
                while self.epoch < self.recipe.epochs and not self.schedule.over:
                    self._one_epoch(log)
                    if self.processes.any(self._wish.wished):
                        self._stop(f"after epoch {self.epoch}")
        finally:
            if log is not None:
                log.close()
        if self.schedule.over:
            self._say("the validation error no longer improves at the smallest learning rate: done")

    def _one_epoch(self, log: RunLog | None) -> None:
        started = self._saved = time.monotonic()
        self.learner.feed.waited = 0.0
        before = float(self.totals[2])
        self.learner.optimizer.set_rates(self.learner.rates(self.schedule.factor, self.epoch))
        rate = self.recipe.learning_rate * self.schedule.factor
        self._train()
        self._hear()  # a run that goes on after the last step goes on with the validation
        waited, seconds = self.learner.feed.waited, time.monotonic() - started
        loss, wrong, count = self.totals.tolist()
        validation = self.learner.validate(self.validation_rows, self._hear)
        self.schedule.update(validation["error"])
        self.epoch, self.step = self.epoch + 1, 0
        self.totals.zero_()
        record = {
            "epoch": self.epoch,
            "rate": rate,
            "train_loss": loss / count,
            "train_top1_error": wrong / count,
            "validation_loss": validation["loss"],
            "validation_top1_error": validation["error"],
            "seconds": time.monotonic() - started,
            "images_per_second": (count - before) / seconds,
            "waited": waited / seconds,
        }
        if log is not None:  # before saving: what is logged after the checkpoint is forgotten when the run goes on
            self._log(log, record)
        self.save()
        labels = self.learner.labels[self.train_rows]
        for warning in (
            diagnostics.flat_start(loss / count, labels, self.epoch, self.recipe.batch, self.recipe.name),
            diagnostics.starving(waited, seconds),
        ):
            if warning:
                self._say(warning)

    def _log(self, log: RunLog, record: dict[str, Any]) -> None:
        try:
            log.write(record)
        except OSError as error:
            self._say(f"warning: expected to log epoch {self.epoch} in {self.run}, found: {error.strerror}")

    def _train(self) -> None:
        """The rest of an epoch's steps."""
        order = self._order()
        title, started, first = f"epoch {self.epoch + 1}/{self.recipe.epochs}", time.monotonic(), int(self.totals[2])
        quiet, said = None if self.processes.first else True, started  # None: no bar without a terminal
        with tqdm(total=len(order), initial=first, desc=title, unit="image", leave=False, disable=quiet) as bar:
            for step, totals in self.learner.steps(order, self.epoch, self.step):
                self.step = step + 1
                if not self._looks(len(order)):
                    continue
                self.totals += self.processes.total(totals.clone()).cpu()
                totals.zero_()
                loss, wrong, count = self.totals.tolist()
                diagnostics.require_finite(loss, self.epoch, step)
                bar.update(count - bar.n)
                passed = time.monotonic() - started
                left = (len(order) * (self.recipe.epochs - self.epoch) - count) * passed / (count - first)
                state = (
                    f"loss {loss / count:.3f} error {100 * wrong / count:.1f} % "
                    f"waited {100 * self.learner.feed.waited / passed:.0f} % all epochs {tqdm.format_interval(left)}"
                )
                bar.set_postfix_str(state)
                if bar.disable and time.monotonic() - said > QUIET_SECONDS:
                    said = time.monotonic()
                    self._say(f"{title}: {int(count):,} of {len(order):,} images, {state}")
                self._save_between()

    def _looks(self, images: int) -> bool:
        """Whether the loss is read, and saving thought of, after this step; the same in all processes."""
        every = self.config.save_steps
        due = bool(every) and self.step % every == 0
        alone = self.processes.size == 1 and self._wish.wished
        last = images <= self.step * self.recipe.batch
        return due or alone or last or self.step % LOOK_STEPS[self.processes.device.type] == 0

    def _order(self) -> NDArray[np.int64]:
        """The rows of the epoch, in the order that all processes share; shuffled once where the recipe says so."""
        epoch = self.epoch if self.recipe.shuffle else 0
        return np.random.default_rng((self.config.seed, epoch)).permutation(self.train_rows)

    def _say(self, text: str) -> None:
        if self.processes.first:
            tqdm.write(text)

    def _save_between(self) -> None:
        """Save within an epoch where it's due, and stop where that is wished."""
        due, wished = time.monotonic() - self._saved > SAVE_SECONDS, self._wish.wished
        if self.processes.size > 1:  # clocks and signals differ between processes
            due, wished = self.processes.any(due), self.processes.any(wished)
        every = self.config.save_steps
        if wished or due or (every and self.step % every == 0):
            self.save()
        if wished:
            self._stop(f"after {self.step:,} steps of epoch {self.epoch + 1}")

    def _hear(self) -> None:
        """Save and stop, if that is wished in any process; called by all of them."""
        if self.processes.any(self._wish.wished):
            self.save()
            self._stop(f"in the validation of epoch {self.epoch + 1}")

    def _stop(self, where: str) -> NoReturn:
        """All at once, when the first has saved: once a process has ended, torchrun gives the others 30 seconds."""
        self.processes.any(True)
        raise StoppedError(f"stopped {where}")

    def save(self) -> None:
        """Write the checkpoint. Where that fails, it is said, and the run goes on with the one before."""
        self._saved = time.monotonic()
        if not self.processes.saves:
            return
        network, momenta = self.whole(self.learner.network.state_dict()), self.whole(self.learner.optimizer.momenta())
        if not self.processes.first:
            return
        try:
            checkpoint.save(self.run, self.state() | {"network": network, "momenta": momenta})
        except TrainingError as error:
            self._say(f"warning: {error}; the run goes on and tries again")

    def whole(self, share: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both towers' tensors from this process's share, on the CPU."""
        return gather_state(share, self.processes.exchange)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs besides the whole network's weights and momenta."""
        return {
            "architecture": asdict(self.learner.network.architecture),
            "classes": [label.id for label in self.dataset.labels],
            "config": self.config.account(),
            "upright": self.dataset.upright,
            "origin": self.start.origin,
            "layer_rates": dict(self.start.rates),
            "rates": {group["name"]: group["lr"] for group in self.learner.optimizer.param_groups},
            "masks": self.learner.masks,
            "schedule": self.schedule.state(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": self.totals,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state; the weights came with `training.optim.initial_weights.again`."""
        classes = [label.id for label in self.dataset.labels]
        if (state["classes"], state["upright"]) != (classes, self.dataset.upright):
            raise TrainingError("expected the classes of the checkpoint in their order, found other ones in --data")
        now = self.config.account()
        for name, before in state["config"].items():
            if now.get(name) != before:
                raise TrainingError(
                    f"expected the {name} of the checkpoint, {before}, found {now.get(name)} in the run's config.json"
                )
        self.learner.optimizer.restore(split(state["momenta"], self.processes.exchange), state["rates"])
        self.learner.masks = {name: mask.to(self.processes.device) for name, mask in state["masks"].items()}
        self.schedule = schedule.go_on(self.recipe, state["schedule"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.totals = state["totals"].clone()
