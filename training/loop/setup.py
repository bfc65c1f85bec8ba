"""Set-up of a run: the dataset and its cache are read, weights are drawn or loaded, and a `Trainer` is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.artifacts.writer import utc_now
from training.config import TrainConfig
from training.data.cache import build_cache
from training.data.loading import load_dataset
from training.loop import diagnostics
from training.loop.distributed import DistributedContext
from training.loop.run_directory import RunDirectory
from training.loop.runtime import pick_precision
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState


@contextmanager
def set_up(config: TrainConfig, context: DistributedContext, resume: Path | None = None) -> Iterator[Trainer]:
    """A trainer for a new run, or for the one in the folder `resume`, whose folder stays locked in this context.

    Raises AlexNetError. What is wrong with the configuration is raised before any image is read.
    """
    environment = config.environment
    pick_precision(environment.precision, context.device)
    dataset = load_dataset(environment.data, config.run.seed, environment.archive)
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in dataset.splits().items())
    context.log(f"{dataset.name}: {len(dataset.labels)} classes; {sizes}; split: {dataset.split_description}")
    folder = context.broadcast(resume or environment.runs_folder / f"{config.run.name}-{utc_now():%Y%m%d-%H%M%S}")
    run = RunDirectory(folder)
    if resume is None:
        # from the main process: all replicas need the same weights, whatever artifact another machine has
        state = None
        initial = context.broadcast(InitialState.create(config, dataset.labels) if context.is_main else None)
    else:  # from the main process: other machines needn't see its file
        state = context.broadcast(run.load_checkpoint() if context.is_main else None)
        initial = InitialState.from_checkpoint(state)
    cache = build_cache(dataset, environment.cache_folder, config.run.cache_format)
    trainer = Trainer(config, dataset, cache, run, context, initial)
    if not context.is_main:
        if state is not None:
            trainer.restore(state)
        yield trainer
        return
    with run:
        run.claim(config, dataset, resumed=resume is not None)
        if state is not None:
            trainer.restore(state)
        _log_start(trainer, diagnostics.split_warning(initial, dataset))
        yield trainer


def _log_start(trainer: Trainer, split_warning: str | None) -> None:
    context, config = trainer.context, trainer.config
    if trainer.initial.origin:
        context.log(f"initialized from {trainer.initial.origin}")
    if config.environment.compile:
        context.log("the first step compiles the network, which takes about a minute")
    for warning in (diagnostics.large_batch_warning(config.recipe.batch_size), split_warning):
        if warning:
            context.log(warning)
    where = f"{context.device}, {context.world_size} process{'es' if context.world_size > 1 else ''}"
    precision = trainer.train_step.precision
    context.log(f"recipe {config.recipe.name} in {precision} on {where}; run directory: {trainer.run.path}")
