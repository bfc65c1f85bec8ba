"""`Trainer`: epochs over the cache, validation, learning rate schedule, checkpoints, and one log line per epoch."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.exceptions import StoppedError, TrainingError
from model.huge_pages import use_huge_pages
from model.network.tower_parallel import gather_state, split_state
from model.plurals import count_of
from training.config import TrainConfig
from training.data.augment import shuffle_rows
from training.data.cache import ImageCache
from training.data.datasets import Dataset
from training.loop import diagnostics
from training.loop.checkpoint_state import CheckpointState, check_same_run
from training.loop.clock import RunClock
from training.loop.device_cache import keep_on_device
from training.loop.distributed import DistributedContext
from training.loop.engine import VALIDATION_BATCH, EpochTotals, TrainingEngine, ValidationScores
from training.loop.epoch_progress import epoch_progress
from training.loop.graceful_stop import GracefulStop
from training.loop.metrics import MetricsLog
from training.loop.run_directory import RunDirectory
from training.optim.initial_weights import InitialState
from training.optim.loss import balanced_class_weights, chance_loss
from training.optim.schedule import create_schedule, warmup_factor

SAVE_SECONDS = 600
LOG_INTERVAL = {"cpu": 1, "cuda": 20}
"""Steps between two readings of the loss: on a GPU each reading waits for all pending work."""
HUGE_PAGES_STEP, MIN_STEPS_FOR_HUGE_PAGES = 3, 100
"""The step after which a process moves its memory to huge pages, and how many steps must remain to make that pay."""


class Best(NamedTuple):
    """The epoch with the lowest validation error so far; ties are broken by the lower loss.

    Epoch 0 is the start network; before anything was measured, `error` is infinite.
    """

    epoch: int = 0
    error: float = float("inf")
    loss: float = float("inf")


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
        self.engine = TrainingEngine(config, dataset, cache, context, initial)
        self.recipe = self.engine.recipe
        self.schedule = create_schedule(self.recipe)
        self.epoch = 0
        """Completed epochs."""
        self.step = 0
        """Completed steps of the current epoch."""
        self.saved_position: tuple[int, int] | None = None
        """Epoch and step of the checkpoint on disk; None if there is none."""
        self.totals = EpochTotals()
        self.train_rows = cache.rows(dataset, "train")
        self.validation_rows = cache.rows(dataset, "validation")
        self.steps_per_epoch = -(-len(self.train_rows) // self.recipe.batch_size)
        self.clock = RunClock(self.recipe, self.steps_per_epoch, context)
        self.best = Best()
        self.learning_rate = self.recipe.learning_rate
        self._chance = self._chance_loss()
        self.mixes = True
        """Whether images are mixed in this epoch."""
        self.num_device_images = 0
        """Images that the last `fit` kept in the device's memory."""
        self.stop = GracefulStop()
        self._last_save_time = time.monotonic()
        self._num_steps = 0
        """Steps that this process has made."""

    def _chance_loss(self) -> float:
        labels, num_classes = self.engine.labels[self.train_rows], len(self.dataset.labels)
        weights = balanced_class_weights(labels, num_classes) if self.recipe.class_weights else None
        return chance_loss(labels, num_classes, self.recipe.label_smoothing, weights)

    def fit(self) -> None:
        """Train to the recipe's end. Raises StoppedError after SIGINT or SIGTERM, once a checkpoint is written."""
        metrics = MetricsLog(self.run.path, self.epoch) if self.context.is_main else None
        if not self.epoch and not self._has_next_epoch():
            self.save()  # lets a run that only fits an output layer be resumed if it is stopped while it is measured
        try:
            with self.stop:
                self._keep_images_on_device()
                self.clock.start()
                while self._has_next_epoch():
                    self._run_epoch(metrics)
                    if self.context.any(self.stop.requested):
                        self._raise_stopped(f"after epoch {self.epoch}")
        finally:
            self.clock.stop()
            self.engine.loader.free_device_images()  # the measurements that follow need the memory
            if metrics is not None:
                metrics.close()
        if self.schedule.finished:
            self.context.log("finished: the validation error no longer improves at the smallest learning rate")

    def _keep_images_on_device(self) -> None:
        """Copy the images to the device's memory if they fit. Raises TrainingError if they must fit but don't."""
        if not self._has_next_epoch():
            return
        engine, environment = self.engine, self.config.environment
        share = -(-self.recipe.batch_size // self.context.num_replicas)
        images_per_pass = min(share, engine.micro_batch or share)
        if self.recipe.mixing is not None:
            images_per_pass = min(2 * images_per_pass, self.recipe.batch_size)  # with the mixed-in images
        engine.loader.device_images = keep_on_device(
            environment.device_cache,
            self.cache.images,
            (self.train_rows, self.validation_rows),
            max(images_per_pass, VALIDATION_BATCH),
            self.context,
            lambda: self.stop.requested,
        )
        self.num_device_images = engine.loader.num_device_images

    def _has_next_epoch(self) -> bool:
        """Whether the run continues; an epoch that has begun is always completed."""
        if self.schedule.finished:
            return False
        if self.step:
            return True
        if self.recipe.minutes:
            return not self.epoch or self.clock.progress(self.epoch, 0) < 1
        return self.epoch < self.recipe.epochs

    def _run_epoch(self, metrics: MetricsLog | None) -> None:
        """Train, validate, log and save one epoch, or the rest of one that was stopped."""
        started = self._last_save_time = time.monotonic()
        self.engine.loader.stall_seconds = 0.0
        before = self.totals.images
        if not self.step:
            self.clock.start_epoch()
            mixing, progress = self.recipe.mixing, self.clock.progress(self.epoch, 0)
            self.mixes = mixing is not None and progress < mixing.until
        self._train()
        self.check_stop()  # a run that is resumed after the last step continues with the validation
        stalled, seconds, totals = self.engine.loader.stall_seconds, time.monotonic() - started, self.totals
        if not totals.images:  # the time was over before the first step
            return
        validation = self.engine.validate(self.validation_rows, self.check_stop)
        where = f"the validation of epoch {self.epoch + 1}"
        diagnostics.check_loss(validation.loss, self._chance, self.recipe, where)
        self.schedule.update(validation.top1_error)
        self.epoch, self.step, self.totals = self.epoch + 1, 0, EpochTotals()
        if metrics is not None:  # before saving: records after the checkpoint are removed when the run is resumed
            speed = {"images_per_second": (totals.images - before) / seconds, "data_stall": stalled / seconds}
            metrics.write(self._epoch_record(totals, validation) | speed)
        self.keep_best(validation)
        self.save()
        self._log_warnings(totals, stalled, seconds)

    def _epoch_record(self, totals: EpochTotals, validation: ValidationScores) -> dict[str, float]:
        """Losses, errors and times of the last completed epoch."""
        return {
            "epoch": self.epoch,
            "learning_rate": self.learning_rate,
            "train_loss": totals.mean_loss,
            "train_top1_error": totals.top1_error,
            "validation_loss": validation.loss,
            "validation_top1_error": validation.top1_error,
            "seconds": self.clock.epoch_seconds,
            "run_seconds": self.clock.run_seconds,
        }

    def _log_warnings(self, totals: EpochTotals, stalled: float, seconds: float) -> None:
        """Warn of a loss that doesn't fall, and of steps that waited `stalled` of the epoch's `seconds` for images."""
        steps = self.epoch * self.steps_per_epoch
        for warning in (
            diagnostics.no_progress_warning(totals.mean_loss, self._chance, self.epoch, steps, self.recipe.name),
            diagnostics.data_stall_warning(stalled, seconds),
        ):
            if warning:
                self.context.log(warning)

    def keep_best(self, validation: ValidationScores) -> None:
        """Keep these scores if they are the best so far; save their weights, too, if the best ones are to be published.

        If saving fails, a warning is logged, and the best weights remain those saved before.
        """
        error, loss = validation.top1_error, validation.loss
        if (error, loss) >= (self.best.error, self.best.loss):
            return
        if self.config.environment.publish != "best" or self._save_best(error):
            self.best = Best(self.epoch, error, loss)

    def _save_best(self, error: float) -> bool:
        """Save this epoch's weights as the best ones. Returns whether that worked, the same in all processes."""
        weights = self.weights() if self.context.gathers_weights else {}
        return self.context.from_main(lambda: self._write_best(error, weights))

    def _write_best(self, error: float, weights: dict[str, Tensor]) -> bool:
        try:
            self.run.save_best({"epoch": self.epoch, "error": error, "weights": weights})
        except TrainingError as problem:
            self.context.log(f"warning: {problem}; the run continues, but epoch {self.epoch} can't be published")
            return False
        return True

    def _train(self) -> None:
        """Run the remaining steps of the epoch."""
        order, totals = self._order(), self.totals
        is_counted = not self.recipe.minutes and self.epoch < self.recipe.epochs
        title = f"epoch {self.epoch + 1}" + (f"/{self.recipe.epochs}" if is_counted else "")
        engine, sums = self.engine, torch.zeros(3, dtype=torch.float64, device=self.context.device)
        with epoch_progress(title, len(order), totals.images, self.clock, self.context) as progress:
            for step, sums in engine.run_epoch(order, self.epoch, self.step, self._begin_step, self.mixes):
                self.step, self._num_steps = step + 1, self._num_steps + 1
                if self._num_steps == HUGE_PAGES_STEP:
                    self._use_huge_pages()
                if self._should_sync(len(order)):
                    self._read(sums)
                    progress.show(totals, self.epoch, self.step, engine.loader.stall_seconds)
                    self._save_within_epoch()
            self._read(sums)

    def _use_huge_pages(self) -> None:
        """Called once a step has allocated all its memory. Takes as long as about ten steps, and speeds up the rest."""
        steps_left = (self.recipe.epochs - self.epoch) * self.steps_per_epoch - self.step
        if self.context.device.type == "cpu" and (self.recipe.minutes or steps_left >= MIN_STEPS_FOR_HUGE_PAGES):
            use_huge_pages()

    def _begin_step(self, step: int) -> bool:
        """Set learning rates and prune. Returns False if the time limit is reached."""
        progress = self.clock.progress(self.epoch, step)
        if self.recipe.minutes and progress >= 1 and (self.epoch or step):  # the first step is always made
            return False
        factor, warmup = self.schedule.advance(progress), warmup_factor(self.recipe, progress)
        self.learning_rate = self.recipe.learning_rate * factor * warmup
        self.engine.optimizer.set_learning_rates(self.engine.learning_rates(factor, self.epoch, warmup))
        self.engine.prune(progress)
        return True

    def _read(self, sums: Tensor) -> None:
        """Add the sums of all processes to the totals, and zero this process's. Raises TrainingError on divergence."""
        read = self.context.all_reduce(sums.clone())
        sums.zero_()
        loss, _, images = read.tolist()
        if images:
            self.totals.add(read)
            where = f"epoch {self.epoch + 1}, step {self.step:,}"
            diagnostics.check_loss(loss / images, self._chance, self.recipe, where)

    def _should_sync(self, num_images: int) -> bool:
        """Whether to read the loss after this step, and save if that is due; the same in all processes."""
        every = self.config.environment.save_steps
        save_due = bool(every) and self.step % every == 0
        stopping = self.context.world_size == 1 and self.stop.requested
        last = num_images <= self.step * self.recipe.batch_size
        return save_due or stopping or last or self.step % LOG_INTERVAL[self.context.device.type] == 0

    def _order(self) -> NDArray[np.int64]:
        """The shuffled rows of the epoch, the same in all processes; reshuffled each epoch if the recipe says so."""
        epoch = self.epoch if self.recipe.shuffle else 0
        return shuffle_rows(self.train_rows, self.config.run.seed, epoch)

    def _save_within_epoch(self) -> None:
        """Save if it is due, and stop if that was requested."""
        due, requested = time.monotonic() - self._last_save_time > SAVE_SECONDS, self.stop.requested
        if self.context.world_size > 1:  # clocks and signals differ between processes
            due, requested = self.context.any(due), self.context.any(requested)
        every = self.config.environment.save_steps
        if requested or due or (every and self.step % every == 0):
            self.save()
        if requested:
            self._raise_stopped(f"after {count_of(self.step, 'step')} of epoch {self.epoch + 1}")

    def check_stop(self) -> None:
        """Save and stop if that was requested in any process; called by all of them."""
        if self.context.any(self.stop.requested):
            self.save()
            self._raise_stopped(f"during the validation of epoch {self.epoch + 1}")

    def _raise_stopped(self, where: str) -> NoReturn:
        """Raise StoppedError in all processes at once: when one has ended, torchrun gives the others 30 seconds."""
        self.context.barrier()
        raise StoppedError(f"stopped {where}")

    def save(self) -> None:
        """Write the checkpoint. If that fails, a warning is logged, and the run continues with the previous one."""
        self._last_save_time = time.monotonic()
        if not self.context.gathers_weights:
            return
        state = self.state()
        if not self.context.is_main:
            return
        try:
            self.run.save_checkpoint(state)
        except TrainingError as error:
            self.context.log(f"warning: {error}; the run continues and tries again")
        else:
            self.saved_position = self.epoch, self.step

    def gather(self, share: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both towers' tensors from this process's share, on the CPU."""
        return gather_state(share, self.initial.spec, self.context.exchange)

    def weights(self) -> dict[str, Tensor]:
        """The whole network's weights, on the CPU. Called by all processes that gather weights."""
        return self.gather(self.engine.network.state_dict())

    def state(self) -> CheckpointState:
        """Everything that `restore` needs, for the whole network. Called by all processes that gather weights."""
        return {
            "network": asdict(self.recipe.network),
            "classes": [label.id for label in self.dataset.labels],
            "config": self.config.resume_fingerprint(),
            "upright": self.dataset.upright,
            "digests": torch.from_numpy(self.cache.digests()),
            "origin": self.initial.origin,
            "origin_license": self.initial.origin_license,
            "splits_of_ancestors": self.initial.splits,
            "mean": None if self.initial.mean is None else torch.from_numpy(self.initial.mean),
            "lr_multipliers": dict(self.initial.lr_multipliers),
            "learning_rates": self.engine.optimizer.learning_rates(),
            "pruning_masks": self.gather(self.engine.pruning_masks),
            "densities": self.engine.densities,
            "learning_rate": self.learning_rate,
            "best": (self.best.epoch, self.best.error, self.best.loss),
            "clock": self.clock.state(),
            "mixes": self.mixes,
            "threads": torch.get_num_threads(),
            "schedule": self.schedule.state(),
            "length": [self.recipe.epochs, self.recipe.minutes],
            "epoch": self.epoch,
            "step": self.step,
            "totals": asdict(self.totals),
            "weights": self.weights(),
            "momenta": self.gather(self.engine.optimizer.momenta()),
        }

    def restore(self, state: CheckpointState) -> None:
        """Resume from a checkpoint's state, whose weights came with `initial_from_checkpoint`.

        Raises TrainingError if the configuration, the classes or the images differ.
        """
        check_same_run(state, self.config, self.dataset, self.cache)
        self.load_optimizer(state)
        new_length = state["length"] != [self.recipe.epochs, self.recipe.minutes]
        self.schedule = create_schedule(self.recipe, state["schedule"], new_length)
        self.epoch, self.step = self.saved_position = state["epoch"], state["step"]
        self.totals = EpochTotals(**state["totals"])
        self.learning_rate, self.best, self.mixes = state["learning_rate"], Best(*state["best"]), state["mixes"]
        self.clock.restore(state["clock"])
        self._forget_best_if_not_kept()

    def _forget_best_if_not_kept(self) -> None:
        """Forget the best epoch if its weights aren't the saved ones: later epochs then compete among themselves."""
        if self.config.environment.publish != "best" or self.best == Best():
            return
        kept = self.context.from_main(self.run.best_epoch)
        if kept != self.best.epoch:
            self.context.log(
                f"epoch {self.best.epoch} was the best so far, but its weights weren't saved: the best of the later "
                "epochs will be published"
            )
            self.best = Best()

    def load_optimizer(self, state: CheckpointState) -> None:
        """Restore momenta, learning rates and pruning masks from a checkpoint's state."""
        momenta = split_state(state["momenta"], self.initial.spec, self.context.exchange)
        self.engine.optimizer.restore(momenta, state["learning_rates"])
        masks = split_state(state["pruning_masks"], self.initial.spec, self.context.exchange)
        self.engine.pruning_masks = {name: mask.to(self.context.device) for name, mask in masks.items()}
        self.engine.densities = state["densities"]
