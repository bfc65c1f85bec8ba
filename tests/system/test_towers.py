"""One process and many train the same network: two towers, two replicas, and both at once (section 3.2)."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from tests.helpers import training_runs
from tests.helpers.fit import fit
from training.config import NetworkOptions

FIT = Path(training_runs.__file__).with_name("fit.py")


@pytest.fixture(scope="module")
def alone(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `training_runs.OPTIONS` in one process."""
    home = tmp_path_factory.mktemp("alone")
    fit(few, home, 1, NetworkOptions(hidden=16))
    return home


def records(home: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (training_runs.only_run(home) / "metrics.jsonl").read_text().splitlines()]


def require_same(home: Path, alone: Path) -> None:
    """Require runs that are equal up to rounding in float64, after 6 steps with dropout, augmentation and a short last
    batch."""
    for ours, theirs in zip(training_runs.load_checkpoint(home), training_runs.load_checkpoint(alone), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert tensor.dtype == torch.float64
            torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-13, msg=name)
    for ours_, theirs_ in zip(records(home), records(alone), strict=True):
        assert ours_["train_loss"] == pytest.approx(theirs_["train_loss"], rel=1e-12)
        assert ours_["validation_loss"] == pytest.approx(theirs_["validation_loss"], rel=1e-12)
        assert ours_["validation_top1_error"] == theirs_["validation_top1_error"]  # no image counted twice


def test_two_towers_are_one_network(few: Path, tmp_path: Path) -> None:
    fit(few, tmp_path / "alone", 1)
    training_runs.finish(training_runs.start(tmp_path, few, tmp_path / "towers", 2, processes=2, script=FIT))
    require_same(tmp_path / "towers", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "towers"),
    [(2, 2), (4, 2), (3, 1)],
    ids=["2 towers", "2 towers x 2 replicas", "3 replicas"],
)
def test_many_processes_are_one_network(few: Path, alone: Path, tmp_path: Path, processes: int, towers: int) -> None:
    options = ["--data", few, *training_runs.OPTIONS, "--processes-per-network", towers]
    printed = training_runs.finish(training_runs.start(tmp_path, *options, processes=processes))
    assert printed.count("artifact: artifacts/few/1") == 1
    require_same(tmp_path, alone)


@pytest.mark.slow
def test_frozen_layers_with_replicas(few: Path, tmp_path: Path) -> None:
    options = ["--data", few, *training_runs.OPTIONS, "--epochs", 1, "--frozen", "conv1,conv2"]
    training_runs.finish(training_runs.start(tmp_path, *options, processes=2))


@pytest.mark.slow
def test_each_reads_the_other_s_checkpoint(few: Path, alone: Path, tmp_path: Path) -> None:
    """Started with two towers, resumed with four processes, finished with one."""
    first = training_runs.start(
        tmp_path, "--data", few, *training_runs.OPTIONS, "--processes-per-network", 2, processes=2
    )
    training_runs.kill_when(first, lambda: _steps(tmp_path) >= 2)
    run = training_runs.only_run(tmp_path)
    shutil.copy(run / "checkpoint.pt", tmp_path / "early.pt")
    second = training_runs.start(tmp_path, "--resume", run, "--processes-per-network", 2, processes=4)
    training_runs.kill_when(second, lambda: _steps(tmp_path) >= 5)
    training_runs.finish(training_runs.start(tmp_path, "--resume", run, "--processes-per-network", 1))
    require_same(tmp_path, alone)


STOPPED = """
import os, signal, sys
from training.loop.engine import TrainingEngine
validate = TrainingEngine.validate
def stopped(self, rows, check_stop):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return validate(self, rows, check_stop)
if "--resume" not in sys.argv:
    TrainingEngine.validate = stopped
exec(compile(open(os.environ["RUN"]).read(), os.environ["RUN"], "exec"))
"""
"""training/run.py, whose second process gets SIGTERM in the first validation."""


@pytest.mark.slow
def test_one_stopped_in_the_validation_stops_all(
    few: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both end together, once the first has saved; the error is printed once, with the command to resume."""
    script = tmp_path / "a run.py"
    script.write_text(STOPPED)
    monkeypatch.setenv("RUN", str(training_runs.RUN))
    options = [
        "--data",
        few,
        *training_runs.OPTIONS,
        "--micro-batch",
        1,
    ]  # so that the validation has slices to stop between
    process = training_runs.start(tmp_path, *options, processes=2, script=script)
    printed, _ = process.communicate(timeout=120)
    run = training_runs.only_run(tmp_path)
    assert process.returncode == 1, printed
    assert printed.count("stopped during the validation of epoch 1; resume with: torchrun") == 1, printed
    again = f"torchrun --nproc-per-node 2 {shlex.quote(str(script))} --resume {run.relative_to(tmp_path)}"
    assert again in printed
    assert torch.load(run / "checkpoint.pt", weights_only=True)["epoch"] == 0
    training_runs.finish(training_runs.start(tmp_path, "--resume", run, processes=2))
    require_same(tmp_path, alone)


@pytest.mark.slow
def test_an_error_of_all_is_printed_once(tmp_path: Path) -> None:
    process = training_runs.start(tmp_path, "--data", tmp_path / "none", processes=2)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert printed.count("error: no folder at") == 1, printed


def _steps(home: Path) -> int:
    """Steps done at the newest checkpoint."""
    paths = list(home.glob("runs/*/checkpoint.pt"))
    if not paths:
        return 0
    state = torch.load(paths[0], weights_only=True, mmap=True)
    return 3 * int(state["epoch"]) + int(state["step"])
