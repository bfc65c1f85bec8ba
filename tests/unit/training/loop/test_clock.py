"""The clock of a run: epochs, minutes, and seconds over several processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.loop.clock import RunClock
from training.loop.distributed import DistributedContext
from training.recipes import RECIPES

CONTEXT = DistributedContext(torch.device("cpu"))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test changes `now[0]`."""
    times = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: times[0])
    return times


def test_progress_by_epochs() -> None:
    run = RunClock(RECIPES["paper"].with_epochs(4), 10, CONTEXT)
    assert [run.progress(*place) for place in ((0, 0), (1, 5), (3, 10))] == [0, 0.375, 1]
    assert run.remaining_seconds(1, 5, 2.0) == 12.5
    for epochs in (0, 1):  # made shorter when resumed: the begun epoch is completed
        shorter = RunClock(RECIPES["paper"].with_epochs(epochs), 10, CONTEXT)
        assert shorter.progress(1, 5) == 1
        assert shorter.remaining_seconds(1, 5, 2.0) == 2.5


def test_progress_by_minutes_and_seconds_of_earlier_processes(now: list[float]) -> None:
    recipe = RECIPES["paper"].with_minutes(10)
    run = RunClock(recipe, 10, CONTEXT)
    run.start()
    now[0] += 60
    run.start_epoch()
    now[0] += 90
    assert (run.run_seconds, run.epoch_seconds) == (150, 90)
    assert run.progress(0, 3) == 0.25
    assert run.remaining_seconds(0, 3, 1.0) == 450
    state = run.state()
    run.stop()
    now[0] += 1000  # between two processes
    assert run.run_seconds == 150
    resumed = RunClock(replace(recipe, minutes=5.0), 10, CONTEXT)
    resumed.restore(state)
    resumed.start()
    now[0] += 30
    assert (resumed.run_seconds, resumed.epoch_seconds) == (180, 120)
    assert resumed.progress(7, 0) == 0.6
