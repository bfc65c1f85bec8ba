"""Resuming: bit for bit as if the run had never stopped, and runs made longer or shorter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.artifacts.artifact import Artifact
from model.exceptions import StoppedError
from tests.helpers.trainers import Make, checkpoint, options, require_equal, weights
from training.config import NetworkOptions, RunOptions
from training.loop.checkpoint_state import CheckpointState, initial_from_checkpoint
from training.loop.metrics import read_metrics
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer


def test_all_options_of_the_photos_recipe_resume_bit_for_bit(make: Make, tmp_path: Path) -> None:
    """Boxes, degradation, jitter, mixing, pruning, warm-up, cosine; also class weights and label smoothing."""
    recipe = options(
        name="photos", epochs=3, batch_size=12, learning_rate=0.01, class_weights=True, label_smoothing=0.1
    )
    saved = list[CheckpointState]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    complete = make(recipe=recipe, cls=Recorded)
    complete.fit()
    weight = complete.engine.network.get_parameter("fc6.weight")
    assert float(weight.count_nonzero() / weight.numel()) == pytest.approx(0.1, abs=0.01)
    state = saved[1]
    assert 0 < state["densities"]["fc6"] < 1
    assert state["best"][0] in (1, 2)
    resumed = make(state, recipe)
    resumed.fit()
    require_equal(complete, resumed)
    rates = [record["learning_rate"] for record in read_metrics(tmp_path)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.002


@pytest.mark.parametrize(
    "precision",
    ["float32", *(pytest.param(precision, marks=pytest.mark.slow) for precision in ("bfloat16", "float64"))],
)
def test_resumed_within_an_epoch_is_bit_for_bit_the_same(make: Make, tmp_path: Path, precision: str) -> None:
    recipe, saved = options(epochs=2, batch_size=6), list[CheckpointState]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    complete = make(recipe=recipe, save_steps=3, precision=precision, cls=Recorded)
    complete.fit()
    for position in ((0, 3), (1, 3)):
        (state,) = [state for state in saved if (state["epoch"], state["step"]) == position]
        resumed = make(state, recipe, precision=precision)
        resumed.fit()
        require_equal(complete, resumed)
        assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_a_resumed_epoch_mixes_images_as_it_began(make: Make, tmp_path: Path) -> None:
    """Whether an epoch mixes is decided when it begins: here after 0.6 of the run, while the next begins after 0.8."""
    recipe, saved = options(epochs=5, batch_size=12, augment="boxes,mixup"), list[CheckpointState]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    def mix_until(trainer: Trainer) -> Trainer:
        mixing = trainer.engine.recipe.mixing
        assert mixing is not None
        for owner in (trainer, trainer.engine):
            owner.recipe = replace(owner.recipe, mixing=replace(mixing, until=0.65, mixup=1.0, cutmix=0.0))
        return trainer

    complete = mix_until(make(recipe=recipe, save_steps=1, cls=Recorded))
    complete.fit()
    (state,) = [state for state in saved if (state["epoch"], state["step"]) == (3, 1)]
    assert state["mixes"]
    resumed = mix_until(make(state, recipe))
    assert resumed.mixes
    resumed.fit()
    assert not resumed.mixes
    require_equal(complete, resumed)


def test_stopped_in_the_validation_it_is_resumed_with_the_validation(make: Make, tmp_path: Path) -> None:
    class Stopped(Trainer):
        checks = 0

        def check_stop(self) -> None:
            self.checks += 1
            self.stop.requested = self.checks == 2  # after training, before the first validation batch
            super().check_stop()

    recipe = options(epochs=2)
    complete, stopped = make(recipe=recipe, micro_batch=2), make(recipe=recipe, micro_batch=2, cls=Stopped)
    complete.fit()
    with pytest.raises(StoppedError, match="stopped during the validation of epoch 1"):
        stopped.fit()
    state = checkpoint(tmp_path)
    assert (state["epoch"], state["step"]) == (0, stopped.step)
    assert stopped.step > 0
    resumed = make(state, recipe, micro_batch=2)
    resumed.fit()
    require_equal(complete, resumed)
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_a_resumed_run_counts_its_seconds_on(make: Make, tmp_path: Path) -> None:
    class Stopped(Trainer):
        def _save_within_epoch(self) -> None:
            self.stop.requested = True
            super()._save_within_epoch()

    recipe = options(batch_size=6)
    with pytest.raises(StoppedError):
        make(recipe=recipe, cls=Stopped).fit()
    state = checkpoint(tmp_path)
    assert state["clock"]["epoch_seconds"] > 0
    state["clock"] = {"run_seconds": 2000.0, "epoch_seconds": 1000.0}
    make(state, recipe).fit()
    (record,) = read_metrics(tmp_path)
    assert 1000 < record["seconds"] < 1900
    assert 2000 < record["run_seconds"] < 2900


def test_a_resumed_run_waits_on_for_a_better_error(make: Make, tmp_path: Path) -> None:
    """Its schedule continues where it was: a plateau counted anew would drop the rate later."""
    trainer = make(recipe=options(epochs=9))
    for error in (0.5, 0.6, 0.6):
        trainer.schedule.update(error)
    trainer.save()
    resumed = make(checkpoint(tmp_path), options(epochs=9))
    assert resumed.schedule == trainer.schedule != make(recipe=options(epochs=9)).schedule


def test_a_longer_run_fits_its_schedule(make: Make, tmp_path: Path) -> None:
    short = make(recipe=options(schedule="cosine", epochs=1, batch_size=6))
    short.fit()
    longer = make(checkpoint(tmp_path), options(schedule="cosine", epochs=2, batch_size=6))
    longer.fit()
    first, second = read_metrics(tmp_path)
    assert (longer.epoch, second["epoch"]) == (2, 2)
    assert first["learning_rate"] > second["learning_rate"]
    whole = make(recipe=options(schedule="cosine", epochs=2, batch_size=6))
    whole.fit()
    assert read_metrics(tmp_path)[1]["learning_rate"] == second["learning_rate"]


def test_a_run_that_becomes_shorter_ends_its_begun_epoch(make: Make, tmp_path: Path) -> None:
    """So what is published has been validated."""

    class Stopped(Trainer):
        def _save_within_epoch(self) -> None:
            self.stop.requested = self.epoch == 1
            super()._save_within_epoch()

    with pytest.raises(StoppedError, match=r"after 1 step of epoch 2"):
        make(recipe=options(schedule="cosine", epochs=3, batch_size=6), cls=Stopped).fit()
    shorter = make(checkpoint(tmp_path), options(schedule="cosine", epochs=1, batch_size=6))
    shorter.fit()
    assert (shorter.epoch, shorter.step) == (2, 0)
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_a_best_epoch_that_was_not_kept_is_forgotten(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make().fit()  # publishes the last epoch, so the best one's weights aren't kept
    longer = options(epochs=2)
    trainer = make(checkpoint(tmp_path), recipe=longer, publish="best")
    assert "epoch 1 was the best so far, but its weights weren't saved" in capsys.readouterr().out
    trainer.fit()
    assert RunDirectory(tmp_path).best_epoch() == 2
    resumed = make(checkpoint(tmp_path), recipe=longer, publish="best")
    assert resumed.best == trainer.best
    assert "weren't saved" not in capsys.readouterr().out


def test_a_run_without_an_epoch_has_a_checkpoint(make: Make, artifact: Artifact, tmp_path: Path) -> None:
    """So it can be resumed if it is stopped while the network is measured."""
    trainer = make(recipe=options(epochs=0), run=RunOptions(init_from=artifact.path), network=NetworkOptions())
    trainer.fit()
    state = checkpoint(tmp_path)
    for name, tensor in state["weights"].items():
        assert torch.equal(tensor, weights(trainer)[name]), name
    start, resumed = artifact.manifest.training, initial_from_checkpoint(state)
    assert resumed.splits == ((start["dataset"], start["split_sha256"]),)
