"""Fixtures of the training loop's tests: images in a cache, and trainers of a narrow network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.narrow_network import NARROW
from tests.helpers.trainers import Make, options
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.cache import ImageCache, build_cache
from training.data.datasets import Dataset
from training.data.folders import load_folder
from training.loop.checkpoint_state import CheckpointState, initial_from_checkpoint
from training.loop.distributed import DistributedContext
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState


@pytest.fixture(scope="session")
def cached(few: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    return build_cache(load_folder(few), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(few: Path, cached: ImageCache, tmp_path: Path) -> Make:
    """A function that makes a trainer of the images `few`, or of another `dataset` with the same files."""
    images = load_folder(few)

    def make_trainer(
        state: CheckpointState | None = None,
        recipe: RecipeOptions | None = None,
        run: RunOptions | None = None,
        cls: type[Trainer] = Trainer,
        network: NetworkOptions = NARROW,
        dataset: Dataset = images,
        cache: ImageCache = cached,
        **environment: Any,
    ) -> Trainer:
        config = TrainConfig.create(
            recipe or options(),
            network,
            run,
            Environment(**({"precision": "float32", "device": "cpu"} | environment)),
        )
        initial = InitialState.create(config, dataset.labels) if state is None else initial_from_checkpoint(state)
        context = DistributedContext(torch.device("cpu"))
        trainer = cls(config, dataset, cache, RunDirectory(tmp_path), context, initial)
        if state is not None:
            trainer.restore(state)
        return trainer

    return make_trainer
