"""What the loop says and refuses: the flat start, a loss that isn't finite, precision and device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.errors import TrainingError
from training import cache as picture_cache
from training import config
from training.engine import Trainer, pick_device, pick_precision
from training.folders import folder


@pytest.fixture
def trainer(pictures: Path, tmp_path: Path) -> Trainer:
    dataset = folder(pictures)
    recipe = replace(config.recipe("paper"), epochs=1, batch=32)
    chosen = config.RunConfig(recipe, hidden=16, precision="float32", device="cpu")
    return Trainer(chosen, dataset, picture_cache.build(dataset, tmp_path / "cache"), tmp_path)


def test_a_flat_start_is_said_in_words(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer.epoch = 50
    trainer._warn_of_flat_start(0.9)
    assert capsys.readouterr().out == ""
    trainer._warn_of_flat_start(1.0986)
    printed = capsys.readouterr().out
    assert "still that of guessing by class frequency (1.099)" in printed
    assert "--recipe small" in printed
    trainer.epoch = 2  # too early to say
    trainer._warn_of_flat_start(1.0986)
    assert capsys.readouterr().out == ""


def test_a_loss_that_is_not_finite_ends_the_run(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.network.fc8.bias.fill_(float("inf"))
    with pytest.raises(TrainingError, match="expected a finite loss, found nan in epoch 1, step 1"):
        trainer.fit()


def test_pruned_weights_stay_zero(trainer: Trainer) -> None:
    weight = trainer.network.fc7.weight
    mask = (torch.arange(weight.numel()) % 3 == 0).float().view_as(weight)
    trainer.masks["fc7.weight"] = mask
    trainer.fit()
    assert (weight[mask == 0] == 0).all()
    assert (weight[mask == 1] != 0).all()


def test_a_checkpoint_of_another_network_is_refused(trainer: Trainer) -> None:
    state = trainer.state()
    state["architecture"]["hidden"] = 17
    with pytest.raises(TrainingError, match="expected a checkpoint of"):
        trainer.restore(state)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match="precision"):
        pick_precision("int8", torch.device("cpu"))
    assert pick_precision("float32", torch.device("cpu")) == "float32"
    assert pick_precision("auto", torch.device("cpu")) in ("float32", "bfloat16")
    if not torch.cuda.is_available():
        assert pick_device("auto") == "cpu"
        with pytest.raises(TrainingError, match="CUDA"):
            pick_device("cuda")
