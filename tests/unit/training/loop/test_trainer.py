"""The training loop: divergence, a full disk, the best weights, runs of minutes, and runs of many steps."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from model.exceptions import TrainingError
from tests.helpers.trainers import Make, checkpoint, options, weights
from training.data.cache import ImageCache
from training.loop.engine import ValidationScores
from training.loop.metrics import read_metrics
from training.loop.run_directory import CHECKPOINT, RunDirectory
from training.loop.trainer import Trainer


def test_a_wrong_mean_ends_the_run(make: Make, cached: ImageCache) -> None:
    trainer = make()
    trainer.engine.loader.cache = replace(cached, mean=np.zeros_like(cached.mean))
    with pytest.raises(TrainingError, match="the mean image, which isn't that of these images"):
        trainer.fit()


def test_a_loss_that_is_not_finite_ends_the_run(make: Make) -> None:
    trainer = make()
    with torch.no_grad():
        trainer.engine.network.get_parameter("fc8.bias").fill_(float("inf"))
    with pytest.raises(
        TrainingError,
        match=r"training diverged: the loss is nan in epoch 1, step 1, and guessing would give 1\.1: use a",
    ):
        trainer.fit()


def test_a_loss_that_explodes_ends_the_run(make: Make) -> None:
    trainer = make(recipe=options(learning_rate=50.0, epochs=20))
    with pytest.raises(
        TrainingError, match=r"training diverged: .*: use a smaller --learning-rate, such as 0.005, or --w"
    ):
        trainer.fit()


def test_a_network_that_diverged_in_the_last_step_is_not_published(make: Make) -> None:
    class Broken(Trainer):
        def check_stop(self) -> None:
            with torch.no_grad():
                self.engine.network.get_parameter("fc8.bias").fill_(float("nan"))

    with pytest.raises(TrainingError, match="the loss is nan in the validation of epoch 1"):
        make(cls=Broken).fit()


def test_a_run_of_minutes_ends_within_an_epoch(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(recipe=options(epochs=None, minutes=1.0, batch_size=2))
    monkeypatch.setattr(trainer.clock, "progress", lambda epoch, step: epoch + 0.4 * step)
    trainer.fit()
    (record,) = read_metrics(tmp_path)
    assert trainer.epoch == 1
    assert record["learning_rate"] == pytest.approx(0.1 * 0.005 * 2 / 32)  # after 0.8 of the run
    trainer.fit()  # there is no time left
    assert trainer.epoch == 1


def test_a_run_of_too_few_minutes_makes_one_step(make: Make, tmp_path: Path) -> None:
    """Otherwise random weights would be published."""
    trainer = make(recipe=options(epochs=None, minutes=1e-6, batch_size=2))
    trainer.fit()
    assert trainer.epoch == 1
    (record,) = read_metrics(tmp_path)
    assert 0 < record["train_loss"] < 10


def test_the_best_epoch_s_weights_are_kept(make: Make, tmp_path: Path) -> None:
    class Worse(Trainer):
        """Its validation error rises after the third epoch, whose scores are those of the second."""

        def keep_best(self, validation: ValidationScores) -> None:
            scores = {1: ValidationScores(2.0, 0.4), 4: ValidationScores(0.5, 0.6)}
            # of equal errors, the lower loss is best; of equal losses, the earlier epoch
            super().keep_best(scores.get(self.epoch, ValidationScores(1.0, 0.4)))
            if self.epoch == 2:
                best.update(weights(self))

    best: dict[str, torch.Tensor] = {}
    trainer = make(recipe=options(epochs=4), publish="best", cls=Worse)
    trainer.fit()
    kept = RunDirectory(tmp_path).load_best()
    assert (kept["epoch"], kept["error"]) == (2, 0.4)
    assert kept["weights"].keys() == best.keys()
    for name, tensor in best.items():
        assert torch.equal(kept["weights"][name], tensor), name
    last = weights(trainer)["fc8.weight"]
    assert not torch.equal(last, best["fc8.weight"])


def test_a_best_epoch_that_cannot_be_saved_does_not_end_the_run(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does a checkpoint that can't be saved: the disk may have room again an epoch later."""
    in_the_way = tmp_path / "best.pt.partial"

    class Full(Trainer):
        def keep_best(self, validation: ValidationScores) -> None:
            if self.epoch == 1:
                in_the_way.mkdir()
            super().keep_best(validation)
            if self.epoch == 1:
                in_the_way.rmdir()

    trainer = make(recipe=options(epochs=2), publish="best", cls=Full)
    trainer.fit()
    assert "best.pt: Is a directory; there is no previous one; the run continues, but epoch 1 can't be published" in (
        capsys.readouterr().out
    )
    assert trainer.best.epoch == RunDirectory(tmp_path).best_epoch() == 2


def test_logs_that_cannot_be_written_do_not_end_the_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk, TensorBoard's writer raises an error when closed; the network may fit on another disk."""

    def close(board: SummaryWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "close", close)
    trainer = make()
    trainer.fit()
    assert trainer.epoch == 1
    assert "warning: cannot write the end of the logs in" in capsys.readouterr().out


def test_all_rates_warm_up(make: Make) -> None:
    trainer = make(recipe=options(name="photos", epochs=4, batch_size=12, warmup=0.5))
    used, step = list[dict[str, float]](), trainer.engine.optimizer.step

    def keep_rates() -> None:
        used.append(trainer.engine.optimizer.learning_rates())
        step()

    trainer.engine.optimizer.step = keep_rates  # type: ignore[method-assign]
    trainer.fit()
    half = len(used) // 2
    peak = trainer.recipe.learning_rate
    for name, multiplier in (("conv1.weight", 1.0), ("fc8.bias", trainer.recipe.bias_lr_multiplier)):
        rates = [rates[name] / multiplier for rates in used]
        assert rates[0] < 0.01 * peak
        assert rates[:half] == sorted(rates[:half])
        assert rates[half:] == sorted(rates[half:], reverse=True)
        assert 0.1 * peak < max(rates) <= peak


def test_a_full_disk_loses_nothing(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make(recipe=options(epochs=2))
    trainer.save()
    (tmp_path / f"{CHECKPOINT}.partial").symlink_to("/dev/full")  # each write fails: no space left
    trainer.fit()
    assert "the previous one is kept; the run continues and tries again" in capsys.readouterr().out
    assert checkpoint(tmp_path)["epoch"] == 2  # the second try succeeded


@pytest.mark.parametrize(("batch_size", "epochs", "calls"), [(32, 4, 0), (1, 5, 1)])
def test_a_run_of_many_steps_uses_huge_pages_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, batch_size: int, epochs: int, calls: int
) -> None:
    made: list[int] = []

    def use_huge_pages() -> int:
        made.append(trainer.step)
        return 0

    monkeypatch.setattr("training.loop.trainer.use_huge_pages", use_huge_pages)
    trainer = make(recipe=options(batch_size=batch_size, epochs=epochs))
    trainer.fit()
    assert made == [3] * calls
