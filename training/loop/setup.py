"""Set-up of a run: read the dataset and its cache, draw or load weights, and create a `Trainer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.artifacts import artifact as artifacts
from model.artifacts.bundled import is_bundled
from model.datasets.listing import write_skipped
from model.exceptions import TrainingError
from model.images.contract import IMAGE_SIZE, ImageContract
from model.network.spec import LRN
from model.plurals import count_of
from model.shell_command import option_name
from training.config import RunOptions, TrainConfig
from training.data.cache import ImageCache, build_cache
from training.data.data_check import check_images
from training.data.datasets import Dataset
from training.data.folders import read_info
from training.data.loading import load_dataset
from training.evaluation.baselines import START, Baseline, sample_rows, write_baselines
from training.loop import diagnostics
from training.loop.checkpoint_state import initial_from_checkpoint
from training.loop.distributed import DistributedContext
from training.loop.run_directory import SPLIT, RunDirectory, create_run_folder
from training.loop.start_network import (
    MAX_HELD_OUT_IMAGES,
    FittedInitialState,
    choose_initial_network,
    fit_output_layer,
)
from training.loop.status import stage
from training.loop.trainer import Trainer
from training.loop.trials import choose_threads, run_range_test
from training.optim.initial_weights import InitialState
from training.optim.layer_rates import check_layer_names


@contextmanager
def set_up(
    config: TrainConfig, context: DistributedContext, resume: Path | None = None, initial: InitialState | None = None
) -> Iterator[Trainer]:
    """A trainer for a new run, or for the one in the folder `resume`. The run's folder stays locked in this context.

    `initial`: what to start from instead of the checkpoint in `resume`. Raises AlexNetError; for errors in the
    configuration, before any image is read.
    """
    environment = config.environment
    check_layer_names(config.run.lr_multipliers, config.run.frozen)
    with stage(f"looking for the images of {environment.data}", context.is_main):
        dataset = open_dataset(config, resume)
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in dataset.splits().items())
    context.log(
        f"{dataset.name}, before leaving out damaged images and copies: {len(dataset.labels)} classes; {sizes}; "
        f"split: {dataset.split_description}"
    )
    with ExitStack() as stack:
        if resume is None:
            trainer = _new_trainer(config, context, dataset, stack)
        else:
            trainer = _resumed_trainer(config, context, dataset, resume, initial, stack)
        if context.is_main:
            _log_start(trainer, diagnostics.split_warning(trainer.initial, dataset))
        yield trainer


def _new_trainer(config: TrainConfig, context: DistributedContext, dataset: Dataset, stack: ExitStack) -> Trainer:
    """The trainer of a new run, whose folder is locked until `stack` is left."""
    config = context.from_main(lambda: _with_initial_network(config, context, dataset))
    if config.recipe.has_epochs:
        config.check_combinations()
    with stage("initializing the network", context.is_main):
        # from the main process: all replicas need the same weights, whatever artifact another machine has
        initial = context.from_main(lambda: InitialState.create(config, dataset.labels))
    fits = fits_output_layer(config, initial)  # before the images are read, since it may refuse options
    cache = _with_mean(_checked_cache(config, dataset, context), config, context, initial)
    fitted = None
    if fits:
        fitted = context.from_main(lambda: fit_output_layer(initial, config, dataset, cache, context.device))
        initial = fitted.initial
    folder = context.from_main(lambda: create_run_folder(config.environment.runs_folder, config.run.name))
    run = _lock(RunDirectory(folder), context, stack)
    trainer = Trainer(config, dataset, cache, run, context, initial)
    if context.is_main:
        run.claim(config, dataset, resumed=False)
    _keep_start(trainer, fitted)
    choose_threads(trainer, None)
    return _with_found_rate(trainer, initial, fitted is not None) if config.environment.find_rate else trainer


def _resumed_trainer(
    config: TrainConfig,
    context: DistributedContext,
    dataset: Dataset,
    folder: Path,
    initial: InitialState | None,
    stack: ExitStack,
) -> Trainer:
    """The trainer of the run in `folder`, which is locked until `stack` is left; `initial`: see `set_up`."""
    # locked before its checkpoint is read: another process may be about to save a newer one
    run, state = _lock(RunDirectory(folder), context, stack), None
    if context.is_main:
        run.check_split(dataset)
    with stage("initializing the network", context.is_main):
        if initial is None:  # from the main process: other machines needn't see its file
            state = context.from_main(run.load_checkpoint)
            initial = initial_from_checkpoint(state)
    cache = _with_mean(_checked_cache(config, dataset, context), config, context, initial)
    trainer = Trainer(config, dataset, cache, run, context, initial)
    if state is not None:
        trainer.restore(state)
    if context.is_main:  # after all checks: a resume that is refused must leave the run as it was
        run.claim(config, dataset, resumed=True)
    choose_threads(trainer, None if state is None else state["threads"])
    return trainer


def _lock(run: RunDirectory, context: DistributedContext, stack: ExitStack) -> RunDirectory:
    """The run, locked by the main process until `stack` is left. Raises TrainingError."""
    return stack.enter_context(run) if context.is_main else run


def _with_initial_network(config: TrainConfig, context: DistributedContext, dataset: Dataset) -> TrainConfig:
    """`config` with the network that a new run starts from, and its image contract, filled in."""
    with stage("reading the network to start from"):
        config, text = choose_initial_network(config, len(dataset.train))
        contract = choose_contract(config.run, config.recipe.detail)
    if text:
        context.log(text)
    if is_bundled(config.run.name):
        context.log(f"a bundled network is also called {config.run.name}; use --name to choose another name for yours")
    return replace(config, run=replace(config.run, detail=contract.detail, color_profiles=contract.color_profiles))


def choose_contract(run: RunOptions, recipe_detail: int | None = None) -> ImageContract:
    """The image contract of a new run: that of the artifact it starts from, with the changes asked for.

    `recipe_detail`: the detail of a run that starts from scratch. Raises ArtifactError.
    """
    start = ImageContract(recipe_detail)
    if isinstance(run.init_from, Path):
        start = artifacts.load(run.init_from).image_contract
    detail = start.detail if run.detail is None else run.detail
    profiles = start.color_profiles if run.color_profiles is None else run.color_profiles
    return ImageContract(None if detail == IMAGE_SIZE else detail, profiles)


def _checked_cache(config: TrainConfig, dataset: Dataset, context: DistributedContext) -> ImageCache:
    """The decoded images. Logs what was skipped and what is wrong with them. Raises DatasetError."""
    cache = open_cache(config, dataset, show=context.is_main)
    if not context.is_main:
        return cache
    with stage("checking the images"):
        check = check_images(dataset, cache.traits, cache.skipped, cache.copies)
    context.log(str(check))
    if config.environment.list_skipped is not None:
        write_skipped(config.environment.list_skipped, (*dataset.skipped, *cache.skipped.values()))
    return cache


def open_dataset(config: TrainConfig, begun: Path | None = None) -> Dataset:
    """The dataset of a run, split as the run was configured. Raises DatasetError.

    `begun`: the folder of a run that isn't new. If its split was based on an earlier run's (`split_from`), the split is
    read from this folder: the earlier one may be gone.
    """
    run, environment = config.run, config.environment
    source, seed, archive, exclude = environment.data, run.seed, environment.archive, environment.exclude
    if run.split_from is None:
        return load_dataset(source, seed, archive, exclude, run.split)
    if begun is None:
        table = run.split_from / SPLIT if run.split_from.is_dir() else run.split_from
        return load_dataset(source, seed, archive, exclude, run.split, table)
    dataset, info = load_dataset(source, seed, archive, exclude, run.split, begun / SPLIT), read_info(begun / SPLIT)
    if info is None:
        return dataset
    return replace(dataset, split_description=info.split_description, kept_splits=info.kept_splits)


def open_cache(config: TrainConfig, dataset: Dataset, show: bool = True) -> ImageCache:
    """The decoded images of a run; training images that will be degraded are in full detail. Raises DatasetError.

    `show`: whether this process says which files can't be decoded.
    """
    run, environment = config.run, config.environment
    contract = run.image_contract
    return build_cache(
        dataset,
        environment.cache_folder,
        run.cache_format,
        run.drop_near_duplicates,
        contract,
        environment.limits,
        contract if config.recipe.degradation is None else replace(contract, detail=None),
        show,
    )


def _with_mean(
    cache: ImageCache, config: TrainConfig, context: DistributedContext, initial: InitialState
) -> ImageCache:
    """The cache with the mean that the network subtracts: that of the network it starts from, or the images' own."""
    if initial.mean is None:
        return cache.with_channel_mean() if config.recipe.mean == "channel" else cache
    difference = float(cache.mean.mean(dtype=np.float64) - initial.mean.mean(dtype=np.float64))
    if abs(difference) > diagnostics.MAX_MEAN_PIXEL:
        context.log(
            f"these images are {abs(difference):.0f} gray levels {'brighter' if difference > 0 else 'darker'} than "
            "those the start network was trained on; that network's mean is still subtracted"
        )
    return cache.with_mean(initial.mean)


def fits_output_layer(config: TrainConfig, initial: InitialState) -> bool:
    """Whether an output layer is fitted before the first step.

    Raises TrainingError if nothing would be trained, or if options would have no effect.
    """
    fits = config.run.fit_output and initial.needs_output_layer
    if not (fits or config.recipe.has_epochs):
        raise TrainingError("nothing would be trained, not even an output layer: add --epochs, such as --epochs 15")
    if useless := config.options_without_effect():
        options = ", ".join(map(option_name, useless))
        raise TrainingError(
            f"without epochs only the output layer is fitted, so {options} would have no effect: add --epochs, such as "
            "--epochs 15"
        )
    return fits


def _keep_start(trainer: Trainer, fitted: FittedInitialState | None) -> None:
    """Log how good the start network is before training, and keep its weights as those of epoch 0."""
    context = trainer.context
    if fitted is not None:
        if context.is_main:
            write_baselines(trainer.run.path, fitted.baselines)
        for baseline in fitted.baselines:
            context.log(f"{baseline.method}: {100 * baseline.top1_error:.2f} % error on {baseline.split} images")
    elif not trainer.initial.is_copy:
        return  # some layers are random
    with stage("measuring the start network", context.is_main):
        validation = trainer.engine.validate(trainer.validation_rows)
    before = "before the first epoch" if trainer.recipe.has_epochs else "with the fitted output layer"
    context.log(f"{before}: validation error {100 * validation.top1_error:.2f} %")
    trainer.keep_best(validation)
    if fitted is None:
        _measure_start(trainer, validation.top1_error)


def _measure_start(trainer: Trainer, validation_error: float) -> None:
    """Measure a start network that already has the classes of the data on the held-out images, as a baseline.

    Without a test split these may be all validation images, which have been measured.
    """
    dataset, generator = trainer.dataset, np.random.default_rng(trainer.config.run.seed)
    split = dataset.held_out_split
    rows = sample_rows(trainer.cache.rows(dataset, split), MAX_HELD_OUT_IMAGES, generator)
    is_measured = np.array_equal(rows, trainer.validation_rows)
    error = validation_error if is_measured else trainer.engine.validate(rows).top1_error
    if trainer.context.is_main:
        write_baselines(trainer.run.path, [Baseline(START, split, error, len(rows), 0)])


def _with_found_rate(trainer: Trainer, initial: InitialState, fitted: bool) -> Trainer:
    """A new trainer with the learning rate that a range test finds; with the old rate if it finds none."""
    config, context, run = trainer.config, trainer.context, trainer.run
    with stage("looking for a learning rate", context.is_main):
        test = run_range_test(trainer, fitted)
    if context.is_main:
        test.write(run.path)
    rate = config.recipe.learning_rate
    if test.best_rate is None:
        context.log(
            f"range test: no learning rate clearly lowered the loss in {len(test.rates)} steps; keeping {rate:g}"
        )
    else:
        context.log(f"range test: learning rate {test.best_rate:g} instead of {rate:g}")
        rate = test.best_rate
    config = replace(config, recipe=replace(config.recipe, learning_rate=rate))
    if context.is_main:
        run.write_config(config)
    changed = Trainer(config, trainer.dataset, trainer.cache, run, context, initial)
    changed.best = trainer.best
    return changed


def _log_start(trainer: Trainer, split_warning: str | None) -> None:
    context, config, recipe = trainer.context, trainer.config, trainer.recipe
    if trainer.initial.origin:
        context.log(f"initialized from {trainer.initial.origin}")
    if context.device.type == "cuda" and any(isinstance(layer, LRN) for layer in trainer.initial.spec.layers):
        from model.lrn.gpu_check import gpu_kernel_problem

        problem = gpu_kernel_problem(context.device)
        how = f"as matrix products, which is slower: {problem}" if problem else "by the Triton kernels"
        context.log(f"response normalization is computed {how}")
    if config.environment.compile:
        context.log("the first step compiles the network, which takes about a minute")
    for warning in (
        diagnostics.large_batch_warning(recipe.batch_size),
        diagnostics.competition_warning(recipe, trainer.engine.competition.num_sources),
        split_warning,
    ):
        if warning:
            context.log(warning)
    threads = f", {count_of(torch.get_num_threads(), 'thread')}" if context.device.type == "cpu" else ""
    where = f"{context.device}{threads}, {count_of(context.world_size, 'process', 'processes')}"
    length = f"at most {count_of(recipe.epochs, 'epoch')}" if recipe.epochs else "no epochs, only a new output layer"
    if recipe.minutes:
        length = f"{recipe.minutes:g} minute{'' if recipe.minutes == 1 else 's'}"
    if trainer.epoch or trainer.step:
        length += f", of which {count_of(trainer.epoch, 'epoch')} and {count_of(trainer.step, 'step')} are done"
    precision = trainer.engine.precision
    context.log(f"recipe {recipe.name}, {length}, in {precision} on {where}; run directory: {trainer.run.path}")
