"""Images kept in the device's memory: as many as fit beside training, reported, and without effect on the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.exceptions import StoppedError, TrainingError
from tests.helpers.trainers import require_equal
from training.config import DeviceCache, Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.cache import ImageCache
from training.data.device_images import DeviceImages
from training.data.folders import load_folder
from training.loop.checkpoint_state import initial_from_checkpoint
from training.loop.device_cache import RESERVED_BYTES, RESERVED_BYTES_PER_IMAGE, choose_rows, free_memory
from training.loop.distributed import DistributedContext
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.publish.export_run import provenance

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TRAIN, VALIDATION = np.arange(10_000), np.arange(10_000, 12_000)
TRAIN_BYTES, ALL_BYTES = 10_000 * 196_608, 12_000 * 196_608
RESERVED = RESERVED_BYTES + 128 * RESERVED_BYTES_PER_IMAGE


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """More than enough free memory, unless a test sets another amount."""
    set_free(monkeypatch, 2**40)
    return monkeypatch


def set_free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("training.loop.device_cache.free_memory", lambda device: count)


def choose(device_cache: DeviceCache, device: torch.device = GPU) -> tuple[int, str]:
    rows, text = choose_rows(device_cache, TRAIN, VALIDATION, device, 128)
    return len(rows), text


@pytest.mark.parametrize("device_cache", ["auto", "yes"])
def test_what_fits_is_kept(free: pytest.MonkeyPatch, device_cache: DeviceCache) -> None:
    set_free(free, ALL_BYTES + RESERVED)
    text = "12,000 training and validation images are kept in the memory of cuda:0: 2.4 GB of 8.7 GB free"
    assert choose(device_cache) == (12_000, text)
    set_free(free, ALL_BYTES + RESERVED - 1)
    assert choose(device_cache)[0] == 10_000
    set_free(free, TRAIN_BYTES + RESERVED)
    text = "10,000 training images are kept in the memory of cuda:0: 2.0 GB of 8.3 GB free"
    assert choose(device_cache) == (10_000, text)


def test_what_does_not_fit_is_said(free: pytest.MonkeyPatch) -> None:
    set_free(free, TRAIN_BYTES + RESERVED - 1)
    problem = (
        "the 10,000 training images take 2.0 GB in the memory of cuda:0, where 8.3 GB is free and training itself "
        "needs 6.3 GB: "
    )
    assert choose("auto") == (0, problem + "images are copied batch by batch")
    with pytest.raises(TrainingError, match=problem + "choose --device-cache auto, or a smaller --micro-batch"):
        choose("yes")


def test_nothing_is_kept_unless_asked_for(free: pytest.MonkeyPatch) -> None:
    assert choose("no") == (0, "images are copied to cuda:0 batch by batch (--device-cache no)")
    assert choose("no", CPU) == choose("auto", CPU) == (0, "")
    assert choose("yes", CPU)[0] == 12_000


def test_the_memory_of_this_machine() -> None:
    assert 2**20 < free_memory(CPU) < 2**50


def create(
    few: Path,
    cached: ImageCache,
    folder: Path,
    device_cache: DeviceCache,
    recipe: str = "photos",
    resumed: bool = False,
) -> Trainer:
    dataset, run = load_folder(few), RunDirectory(folder)
    config = TrainConfig.create(
        RecipeOptions(recipe, epochs=2, batch_size=8),
        NetworkOptions(hidden=8, channels=(4, 4, 4, 4, 4)),
        RunOptions(init_from="none"),
        Environment(data=str(few), device="cpu", precision="float32", micro_batch=5, device_cache=device_cache),
    )
    state = run.load_checkpoint() if resumed else None
    initial = InitialState.create(config, dataset.labels) if state is None else initial_from_checkpoint(state)
    trainer = Trainer(config, dataset, cached, run, DistributedContext(CPU), initial)
    if state is not None:
        trainer.restore(state)
    return trainer


@pytest.mark.parametrize("recipe", ["paper", "photos"])
def test_a_run_has_the_same_weights_and_says_what_it_kept(
    few: Path,
    cached: ImageCache,
    tmp_path: Path,
    free: pytest.MonkeyPatch,
    recipe: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reading = create(few, cached, tmp_path / "reading", "no", recipe)
    reading.fit()
    assert "images are kept" not in capsys.readouterr().out
    keeping = create(few, cached, tmp_path / "keeping", "yes", recipe)
    keeping.fit()
    require_equal(keeping, reading)
    count = len(keeping.train_rows) + len(keeping.validation_rows)
    assert f"{count} training and validation images are kept in the memory of cpu: 0.0 GB" in capsys.readouterr().out
    assert (provenance(reading)["device_cache"], provenance(keeping)["device_cache"]) == (0, count)
    assert keeping.engine.loader.device_images is None  # its memory is free again


def test_a_run_that_is_resumed_without_its_images_on_the_device_sees_the_same_crops(
    few: Path, cached: ImageCache, tmp_path: Path, free: pytest.MonkeyPatch
) -> None:
    whole = create(few, cached, tmp_path / "whole", "yes")
    whole.fit()
    stopped = create(few, cached, tmp_path / "stopped", "yes")

    def begin_step(step: int) -> bool:
        stopped.stop.requested = stopped.epoch == 1 and step == 1
        return Trainer._begin_step(stopped, step)

    free.setattr(stopped, "_begin_step", begin_step)
    with pytest.raises(StoppedError, match="after 2 steps of epoch 2"):
        stopped.fit()
    resumed = create(few, cached, tmp_path / "stopped", "no", resumed=True)
    resumed.fit()
    require_equal(resumed, whole)


def test_memory_that_another_process_has_taken_since(
    few: Path, cached: ImageCache, tmp_path: Path, free: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> DeviceImages:
        raise torch.OutOfMemoryError("CUDA out of memory")

    free.setattr(DeviceImages, "upload", fail)
    with pytest.raises(
        TrainingError, match="the images don't fit in device memory after all: choose --device-cache auto"
    ):
        create(few, cached, tmp_path, "yes").fit()
    free.setattr("training.loop.device_cache.choose_rows", lambda *arguments: (TRAIN, "they fit"))
    trainer = create(few, cached, tmp_path, "auto")
    trainer.fit()
    assert (
        "they fit\nthey don't fit in device memory after all: images are copied batch by batch"
        in capsys.readouterr().out
    )
    assert trainer.num_device_images == 0
