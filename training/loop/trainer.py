"""`Trainer`: epochs over the cache, validation, learning rate schedule, checkpoints, and one log line per epoch."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from model.exceptions import DatasetError, StoppedError, TrainingError
from model.network.tower_parallel import gather_state, split_state
from training.config import TrainConfig
from training.data.cache import ImageCache
from training.data.datasets import Dataset
from training.loop import diagnostics
from training.loop.distributed import DistributedContext
from training.loop.graceful_stop import GracefulStop
from training.loop.metrics import MetricsLog
from training.loop.run_directory import RunDirectory
from training.loop.train_step import EpochTotals, TrainStep
from training.optim.initial_weights import InitialState
from training.optim.schedule import create_schedule

SAVE_SECONDS = 600
LOG_SECONDS = 60
"""Seconds between two log lines within an epoch where there is no terminal, and so no progress bar."""
LOG_INTERVAL = {"cpu": 1, "cuda": 20}
"""Steps between two readings of the loss: on a GPU each reading waits for everything that is under way."""


class Trainer:
    """Trains the network of one run; `fit` trains it to the end.

    After `fit` the network holds the weights of the last epoch. With several processes each has a Trainer, and all of
    them call the same methods.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        cache: ImageCache,
        run: RunDirectory,
        context: DistributedContext,
        initial: InitialState,
    ) -> None:
        self.config, self.dataset, self.cache, self.run, self.context = config, dataset, cache, run, context
        self.initial = replace(initial, weights={})  # not held in memory twice
        self.train_step = TrainStep(config, dataset, cache, context, initial)
        self.recipe = self.train_step.recipe
        self.schedule = create_schedule(self.recipe)
        self.epoch = self.step = 0
        self.totals = EpochTotals()
        self.train_rows = cache.rows(dataset, "train")
        self.validation_rows = cache.rows(dataset, "validation")
        self.stop = GracefulStop()
        self._saved = time.monotonic()
        for name, examples in dataset.splits().items():
            if (examples or name == "validation") and not len(cache.rows(dataset, name)):
                raise DatasetError(f"no image of the {name} split can be decoded")

    def fit(self) -> None:
        """Train to the recipe's end. Raises StoppedError after SIGINT or SIGTERM, when a checkpoint is written."""
        metrics = MetricsLog(self.run.path, self.epoch) if self.context.is_main else None
        try:
            with self.stop:
                while self.epoch < self.recipe.epochs and not self.schedule.finished:
                    self._run_epoch(metrics)
                    if self.context.any(self.stop.requested):
                        self._raise_stopped(f"after epoch {self.epoch}")
        finally:
            if metrics is not None:
                metrics.close()
        if self.schedule.finished:
            self.context.log("finished: the validation error no longer improves at the smallest learning rate")

    def _run_epoch(self, metrics: MetricsLog | None) -> None:
        step, loader = self.train_step, self.train_step.loader
        started = self._saved = time.monotonic()
        loader.stall_seconds = 0.0
        before = self.totals.images
        step.optimizer.set_learning_rates(step.learning_rates(self.schedule.factor, self.epoch))
        learning_rate = self.recipe.learning_rate * self.schedule.factor
        self._train()
        self.check_stop()  # a run that is resumed after the last step continues with the validation
        stalled, seconds, totals = loader.stall_seconds, time.monotonic() - started, self.totals
        validation = step.validate(self.validation_rows, self.check_stop)
        self.schedule.update(validation["error"])
        self.epoch, self.step, self.totals = self.epoch + 1, 0, EpochTotals()
        record = {
            "epoch": self.epoch,
            "learning_rate": learning_rate,
            "train_loss": totals.mean_loss,
            "train_top1_error": totals.top1_error,
            "validation_loss": validation["loss"],
            "validation_top1_error": validation["error"],
            "seconds": time.monotonic() - started,
            "images_per_second": (totals.images - before) / seconds,
            "data_stall": stalled / seconds,
        }
        if metrics is not None:  # before saving: records after the checkpoint are removed when the run is resumed
            self._write_metrics(metrics, record)
        self.save()
        labels, recipe = step.labels[self.train_rows], self.recipe
        for warning in (
            diagnostics.no_progress_warning(totals.mean_loss, labels, self.epoch, recipe.batch_size, recipe.name),
            diagnostics.data_stall_warning(stalled, seconds),
        ):
            if warning:
                self.context.log(warning)

    def _write_metrics(self, metrics: MetricsLog, record: dict[str, Any]) -> None:
        try:
            metrics.write(record)
        except OSError as error:
            self.context.log(f"warning: cannot log epoch {self.epoch} in {self.run.path}: {error.strerror}")

    def _train(self) -> None:
        """The remaining steps of an epoch."""
        order, loader, totals = self._order(), self.train_step.loader, self.totals
        title, started, first = f"epoch {self.epoch + 1}/{self.recipe.epochs}", time.monotonic(), totals.images
        disable = None if self.context.is_main else True  # None: no bar without a terminal
        logged = started
        with tqdm(total=len(order), initial=first, desc=title, unit="image", leave=False, disable=disable) as bar:
            for step, sums in self.train_step.run_epoch(order, self.epoch, self.step):
                self.step = step + 1
                if not self._should_log(len(order)):
                    continue
                totals.add(self.context.all_reduce(sums.clone()))
                sums.zero_()
                diagnostics.check_finite(totals.loss, self.epoch, step)
                bar.update(totals.images - bar.n)
                passed = time.monotonic() - started
                remaining = len(order) * (self.recipe.epochs - self.epoch) - totals.images
                state = (
                    f"loss {totals.mean_loss:.3f} error {100 * totals.top1_error:.1f} % "
                    f"data stall {100 * loader.stall_seconds / passed:.0f} % "
                    f"all epochs {tqdm.format_interval(remaining * passed / (totals.images - first))}"
                )
                bar.set_postfix_str(state)
                if bar.disable and time.monotonic() - logged > LOG_SECONDS:
                    logged = time.monotonic()
                    self.context.log(f"{title}: {totals.images:,} of {len(order):,} images, {state}")
                self._save_within_epoch()

    def _should_log(self, num_images: int) -> bool:
        """Whether to read the loss, and to think of saving, after this step; the same in all processes."""
        every = self.config.environment.save_steps
        save_due = bool(every) and self.step % every == 0
        stopping = self.context.world_size == 1 and self.stop.requested
        last = num_images <= self.step * self.recipe.batch_size
        return save_due or stopping or last or self.step % LOG_INTERVAL[self.context.device.type] == 0

    def _order(self) -> NDArray[np.int64]:
        """The rows of the epoch in the order that all processes share; shuffled once if the recipe says so."""
        epoch = self.epoch if self.recipe.shuffle else 0
        return np.random.default_rng((self.config.run.seed, epoch)).permutation(self.train_rows)

    def _save_within_epoch(self) -> None:
        """Save if it is due, and stop if that was requested."""
        due, requested = time.monotonic() - self._saved > SAVE_SECONDS, self.stop.requested
        if self.context.world_size > 1:  # clocks and signals differ between processes
            due, requested = self.context.any(due), self.context.any(requested)
        every = self.config.environment.save_steps
        if requested or due or (every and self.step % every == 0):
            self.save()
        if requested:
            self._raise_stopped(f"after {self.step:,} steps of epoch {self.epoch + 1}")

    def check_stop(self) -> None:
        """Save and stop if that was requested in any process; called by all of them."""
        if self.context.any(self.stop.requested):
            self.save()
            self._raise_stopped(f"in the validation of epoch {self.epoch + 1}")

    def _raise_stopped(self, where: str) -> NoReturn:
        """All at once, when the first has saved: once a process has ended, torchrun gives the others 30 seconds."""
        self.context.any(True)
        raise StoppedError(f"stopped {where}")

    def save(self) -> None:
        """Write the checkpoint. If that fails, a warning is logged, and the run continues with the previous one."""
        self._saved = time.monotonic()
        if not self.context.gathers_weights:
            return
        state = self.state()
        if not self.context.is_main:
            return
        try:
            self.run.save_checkpoint(state)
        except TrainingError as error:
            self.context.log(f"warning: {error}; the run continues and tries again")

    def gather(self, share: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both towers' tensors from this process's share, on the CPU."""
        return gather_state(share, self.initial.spec, self.context.exchange)

    def weights(self) -> dict[str, Tensor]:
        """The whole network's weights, on the CPU. Called by all processes that gather weights."""
        return self.gather(self.train_step.network.state_dict())

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, of the whole network. Called by all processes that gather weights."""
        return {
            "network": asdict(self.recipe.network),
            "classes": [label.id for label in self.dataset.labels],
            "config": self.config.resume_fingerprint(),
            "upright": self.dataset.upright,
            "origin": self.initial.origin,
            "lr_multipliers": dict(self.initial.lr_multipliers),
            "learning_rates": self.train_step.optimizer.learning_rates(),
            "pruning_masks": self.train_step.pruning_masks,
            "schedule": self.schedule.state(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": asdict(self.totals),
            "weights": self.weights(),
            "momenta": self.gather(self.train_step.optimizer.momenta()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint's state, whose weights came with `InitialState.from_checkpoint`.

        Raises TrainingError if it is of another configuration or of other classes.
        """
        classes = [label.id for label in self.dataset.labels]
        if (state["classes"], state["upright"]) != (classes, self.dataset.upright):
            raise TrainingError("the classes of --data differ from the checkpoint's, or are in another order")
        for section, values in self.config.resume_fingerprint().items():
            for name, value in values.items():
                before = state["config"].get(section, {}).get(name)
                if before != value:
                    raise TrainingError(f"{section}.{name} is {value} in config.json, but {before} in the checkpoint")
        self.load_optimizer(state)
        self.schedule = create_schedule(self.recipe, state["schedule"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.totals = EpochTotals(**state["totals"])

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Momenta, learning rates and pruning masks of a checkpoint's state."""
        momenta = split_state(state["momenta"], self.initial.spec, self.context.exchange)
        self.train_step.optimizer.restore(momenta, state["learning_rates"])
        masks = state["pruning_masks"].items()
        self.train_step.pruning_masks = {name: mask.to(self.context.device) for name, mask in masks}
