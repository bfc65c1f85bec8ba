"""One process and many train the same network: two towers, two replicas, and both at once (section 3.2)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests import launch


@pytest.fixture(scope="module")
def alone(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("alone")
    launch.finish(launch.start(home, "--data", few, *launch.OPTIONS))
    return home


def records(home: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (launch.only_run(home) / "metrics.jsonl").read_text().splitlines()]


def require_same(home: Path, alone: Path) -> None:
    """Equal to rounding in float64, after 9 steps with dropout, augmentation and a short last batch."""
    for ours, theirs in zip(launch.saved(home), launch.saved(alone), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert tensor.dtype == torch.float64
            torch.testing.assert_close(ours[name], tensor, rtol=1e-9, atol=1e-13, msg=name)
    for ours_, theirs_ in zip(records(home), records(alone), strict=True):
        assert ours_["train_loss"] == pytest.approx(theirs_["train_loss"], rel=1e-12)
        assert ours_["validation_loss"] == pytest.approx(theirs_["validation_loss"], rel=1e-12)
        assert ours_["validation_top1_error"] == theirs_["validation_top1_error"]  # no picture counted twice


@pytest.mark.parametrize(
    ("processes", "towers"), [(2, 2), (4, 2), (3, 1)], ids=["2 towers", "2 towers x 2 replicas", "3 replicas"]
)
def test_many_processes_are_one_network(few: Path, alone: Path, tmp_path: Path, processes: int, towers: int) -> None:
    options = ["--data", few, *launch.OPTIONS, "--towers", towers]
    printed = launch.finish(launch.start(tmp_path, *options, processes=processes))
    assert printed.count("artifact: artifacts/few/1") == 1
    require_same(tmp_path, alone)


def test_frozen_layers_with_replicas(few: Path, tmp_path: Path) -> None:
    options = ["--data", few, *launch.OPTIONS, "--epochs", 1, "--frozen", "conv1,conv2"]
    launch.finish(launch.start(tmp_path, *options, processes=2))


def test_each_reads_the_other_s_checkpoint(few: Path, alone: Path, tmp_path: Path) -> None:
    """Begun by two towers, gone on with by four processes, ended by one."""
    first = launch.start(tmp_path, "--data", few, *launch.OPTIONS, "--towers", 2, processes=2)
    launch.kill_when(first, lambda: _steps(tmp_path) >= 2)
    run = launch.only_run(tmp_path)
    shutil.copy(run / "checkpoint.pt", tmp_path / "early.pt")
    second = launch.start(tmp_path, "--resume", run, "--towers", 2, processes=4)
    launch.kill_when(second, lambda: _steps(tmp_path) >= 5)
    launch.finish(launch.start(tmp_path, "--resume", run, "--towers", 1))
    require_same(tmp_path, alone)


def _steps(home: Path) -> int:
    """Steps done at the newest checkpoint."""
    paths = list(home.glob("runs/*/checkpoint.pt"))
    if not paths:
        return 0
    state = torch.load(paths[0], weights_only=True, mmap=True)
    return 3 * int(state["epoch"]) + int(state["step"])


def test_an_odd_number_of_processes_is_refused(few: Path, tmp_path: Path) -> None:
    process = launch.start(tmp_path, "--data", few, *launch.OPTIONS, "--towers", 2)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "expected processes in pairs for --towers 2, found 1: torchrun --nproc-per-node 2" in printed
