"""Trials before the first epoch: the number of threads, and the range test on a real network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.cpus import available_cpus
from tests.helpers.narrow_network import NARROW
from training.config import Environment, RecipeOptions, TrainConfig
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.loop import trials
from training.loop.distributed import DistributedContext
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.optim.range_test import NUM_STEPS


@pytest.fixture
def trainer(few: Path, tmp_path: Path) -> Trainer:
    dataset = load_folder(few)
    config = TrainConfig.create(
        RecipeOptions(batch_size=8), NARROW, environment=Environment(device="cpu", precision="float32")
    )
    initial = InitialState.create(config, dataset.labels)
    context = DistributedContext(torch.device("cpu"))
    return Trainer(config, dataset, build_cache(dataset, tmp_path), RunDirectory(tmp_path), context, initial)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_the_faster_number_of_threads_is_chosen(
    trainer: Trainer, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def time_pass(trainer: Trainer, count: int) -> float:
        tried.append(count)
        return float(count)

    trials.choose_threads(trainer, None)  # a run of a few steps isn't worth a trial
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(trials, "MIN_STEPS_FOR_TRIAL", 1)
    monkeypatch.setattr(trials, "_time_pass", time_pass)
    trials.choose_threads(trainer, None)
    assert tried == [2, 1]
    assert torch.get_num_threads() == 1
    trials.choose_threads(trainer, 2)  # a resumed run keeps its number
    assert torch.get_num_threads() == min(2, available_cpus())
    trainer.config = replace(trainer.config, environment=replace(trainer.config.environment, threads=1))
    trials.choose_threads(trainer, 2)
    assert torch.get_num_threads() == 1


def test_a_trial_changes_no_weight(trainer: Trainer, threads: int) -> None:
    before = {name: tensor.clone() for name, tensor in trainer.weights().items()}
    assert trials._time_pass(trainer, 1) > 0
    assert torch.get_num_threads() == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.weights().items())
    assert all(parameter.grad is None for parameter in trainer.engine.network.parameters())


@pytest.mark.slow
def test_a_range_test_of_a_real_network(trainer: Trainer) -> None:
    test = trials.run_range_test(trainer, fitted=False)
    assert 10 < len(test.losses) <= NUM_STEPS
    assert test.best_rate is not None
    assert 1e-4 < test.best_rate < 0.5
