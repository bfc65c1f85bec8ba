"""From epoch to epoch: the plateau schedule, the order of the images, and checkpoints every few minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from tests.helpers.trainers import Make, checkpoint, options
from training.loop.engine import ValidationScores
from training.loop.metrics import read_metrics
from training.loop.trainer import Trainer


def fit_with_constant_error(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit; the validation error stays the same, while the loss falls from epoch to epoch."""
    monkeypatch.setattr(trainer.engine, "validate", lambda *given: ValidationScores(1 / (trainer.epoch + 1), 0.5))
    trainer.fit()


def test_the_rate_drops_when_the_error_no_longer_improves_and_the_run_ends_after_the_last_drop(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the error counts, not the loss. A run that is made longer starts with its first rate again."""
    recipe: dict[str, Any] = {"patience": 1, "learning_rate": 0.01}
    fit_with_constant_error(make(recipe=options(epochs=10, **recipe)), monkeypatch)
    ended = "finished: the validation error no longer improves at the smallest learning rate"
    assert ended in capsys.readouterr().out
    rates = [record["learning_rate"] for record in read_metrics(tmp_path)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    resumed = make(checkpoint(tmp_path), options(epochs=10, **recipe))
    fit_with_constant_error(resumed, monkeypatch)
    assert resumed.epoch == 4
    longer = make(checkpoint(tmp_path), options(epochs=20, **recipe))
    fit_with_constant_error(longer, monkeypatch)
    rates = [record["learning_rate"] for record in read_metrics(tmp_path)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize(("recipe", "reshuffles"), [("paper", True), ("source", False)])
def test_images_come_in_a_new_order_in_each_epoch_unless_the_recipe_keeps_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, recipe: str, reshuffles: bool
) -> None:
    trainer = make(recipe=options(name=recipe, epochs=2))
    orders, run_epoch = list[list[int]](), trainer.engine.run_epoch

    def keep_order(order: NDArray[np.int64], *given: Any) -> Iterator[tuple[int, Tensor]]:
        orders.append(order.tolist())
        return run_epoch(order, *given)

    monkeypatch.setattr(trainer.engine, "run_epoch", keep_order)
    trainer.fit()
    first, second = orders
    assert sorted(first) == sorted(second) == trainer.train_rows.tolist()
    assert not np.array_equal(first, trainer.train_rows)
    assert (first != second) == reshuffles


@pytest.mark.parametrize(("seconds", "expected"), [(600, [(1, 0)]), (0, [(0, 1), (0, 2), (0, 3), (1, 0)])])
def test_a_checkpoint_is_written_when_the_last_one_is_too_old(
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    expected: list[tuple[int, int]],
) -> None:
    """Completed epochs, and steps of the next one; without --save-steps, checkpoints are ten minutes apart."""
    places = list[tuple[int, int]]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            state = checkpoint(tmp_path)
            places.append((state["epoch"], state["step"]))

    monkeypatch.setattr("training.loop.trainer.SAVE_SECONDS", seconds)
    trainer = make(recipe=options(batch_size=10), cls=Recorded)
    assert trainer.steps_per_epoch == 3
    trainer.fit()
    assert places == expected
