"""`train_run`: images in, a measured and published artifact out. The steps are those of sections 2, 4, 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from model.artifacts.artifact import Artifact
from model.exceptions import AlexNetError, StoppedError, TrainingError
from model.malloc import keep_freed_memory
from model.plurals import count_of
from model.shell_command import Command
from training.config import TrainConfig
from training.evaluation.predictions import Predictions
from training.loop.distributed import DistributedContext, init_distributed, shut_down_distributed
from training.loop.graceful_stop import interrupt_on_sigterm
from training.loop.metrics import MetricsLog, read_metrics
from training.loop.run_directory import RunDirectory
from training.loop.runtime import pick_device
from training.loop.setup import set_up
from training.loop.trainer import Trainer
from training.publish.earlier_versions import better_version_note
from training.publish.export_run import export_and_publish, report


@dataclass(frozen=True)
class FinishedRun:
    """A published run. `path`: its folder, with its report. `config`: includes the network it started from."""

    path: Path
    artifact: Artifact
    config: TrainConfig


def train_run(config: TrainConfig, resume: Path | None = None, finish: bool = False) -> FinishedRun | None:
    """Train as configured, or resume the run in the folder `resume`. Returns None outside the main process.

    `finish`: publish that run without training it further. Raises AlexNetError; StoppedError after SIGINT or SIGTERM,
    with the command that resumes the run.
    """
    keep_freed_memory()
    device = pick_device(config.environment.device)
    if config.environment.compile and device == "cpu":
        raise TrainingError("--compile needs a GPU: the loops for the CPU are already compiled")
    context = init_distributed(device, config.environment.processes_per_network)
    try:
        with interrupt_on_sigterm():
            return _train(config, context, resume, finish)
    finally:
        shut_down_distributed()


def _train(config: TrainConfig, context: DistributedContext, resume: Path | None, finish: bool) -> FinishedRun | None:
    ready = False
    if finish and context.is_main and resume is not None:
        _check_best(config, resume)
    try:
        with set_up(config, context, resume) as trainer:
            ready = True
            return _fit_and_publish(trainer, finish)
    except KeyboardInterrupt:
        if ready:
            raise
        raise StoppedError("stopped before the first step: start again") from None


def _check_best(config: TrainConfig, run: Path) -> None:
    """Raise TrainingError if the best epoch of a stopped run is to be published, but wasn't kept.

    Before the run is touched: a command that is refused must leave it as it was.
    """
    if config.environment.publish == "best" and read_metrics(run):
        RunDirectory(run).require_best()


def _fit_and_publish(trainer: Trainer, finish: bool) -> FinishedRun | None:
    context, run = trainer.context, trainer.run
    try:
        if not finish:
            trainer.fit()
        if not context.gathers_weights:
            return None
        weights = trainer.weights()
        if not context.is_main:
            return None
        if finish:  # drops the records of epochs that the checkpoint doesn't include
            MetricsLog(run.path, trainer.epoch).close()
        artifact, predictions = _publish(trainer, weights)
    except StoppedError as stopped:
        if trainer.saved_position is None:
            raise StoppedError(f"{stopped}; no checkpoint could be written: start again") from None
        raise StoppedError(
            f"{stopped}; resume with: {context.resume_command(run.path)}; to publish it as it is, use --finish instead "
            "of --resume"
        ) from None
    run.write_artifact(artifact)
    if note := better_version_note(artifact):
        context.log(f"warning: {note}")
    if not trainer.config.environment.keep_checkpoint:
        run.remove_checkpoints()
    try:
        report(trainer, artifact, predictions)
    except KeyboardInterrupt:
        command = Command("report", run.path)
        raise StoppedError(f"stopped: {artifact.path} is published; write its report with: {command}") from None
    return FinishedRun(run.path, artifact, trainer.config)


def _publish(trainer: Trainer, weights: dict[str, Tensor]) -> tuple[Artifact, Predictions]:
    """Measure and publish the network. After an error, a message before it says how to continue."""
    try:
        return export_and_publish(trainer, *_published(trainer, weights))
    except KeyboardInterrupt:
        raise StoppedError("stopped while measuring the network") from None
    except (AlexNetError, OSError):
        trainer.context.log(_what_is_saved(trainer))
        raise


def _what_is_saved(trainer: Trainer) -> str:
    """What is left of a network that couldn't be published, and how to publish it later."""
    finish, resume = (trainer.context.resume_command(trainer.run.path, option) for option in ("--finish", "--resume"))
    if trainer.saved_position == (trainer.epoch, trainer.step):
        return f"the trained network isn't lost: fix the error below, then publish it with {finish}"
    if trainer.saved_position is None:
        return "the trained network is lost, because no checkpoint could be written: fix the error below, train again"
    where = _describe_place(*trainer.saved_position)
    return f"the last checkpoint is after {where}: fix the error below, then train the rest with {resume}"


def _describe_place(epoch: int, step: int) -> str:
    """How far training is: "3 epochs and 2 steps of the next"."""
    return count_of(epoch, "epoch") + (f" and {count_of(step, 'step')} of the next" if step else "")


def _published(trainer: Trainer, last: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights to publish, `last` or those of the best epoch; and what the manifest records about them."""
    where = _describe_place(trainer.epoch, trainer.step)
    no_epoch = not trainer.epoch and trainer.run.best_epoch() is None  # the run was stopped in its first epoch
    if trainer.config.environment.publish == "last" or no_epoch:
        trainer.context.log(f"publishing the weights after {where}")
        return last, {"published_epoch": trainer.epoch, "published_steps": trainer.step}
    best = trainer.run.load_best()
    trainer.context.log(
        f"publishing epoch {best['epoch']}, the best of {where}: validation error {100 * best['error']:.2f} %"
    )
    return best["weights"], {"published_epoch": best["epoch"]}
