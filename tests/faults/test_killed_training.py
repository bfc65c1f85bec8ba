"""kill -9 at any moment: the run is resumed from its checkpoint, and ends bit for bit like an unbroken one."""

from __future__ import annotations

import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.helpers import training_runs

PYTHON = Path(sys.executable).name
OPTIONS = [*training_runs.OPTIONS, "--precision", "float32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "towers"),
    [(1, 1), (2, 2)],
    ids=["1 process", "2 towers"],
)
def test_killed_twice_and_resumed(few: Path, tmp_path: Path, processes: int, towers: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    options = ["--data", few, *OPTIONS, "--processes-per-network", towers]
    training_runs.finish(training_runs.start(whole, *options, processes=processes))

    process = training_runs.start(broken, *options, processes=processes)
    training_runs.kill_when(process, lambda: any(broken.glob("runs/*/checkpoint.pt")))
    run = training_runs.only_run(broken)
    process = training_runs.start(broken, "--resume", run, processes=processes)
    before = _times_of_checkpoints(run)
    training_runs.kill_when(process, lambda: bool(_times_of_checkpoints(run) - before) and _after_a_while())
    training_runs.finish(training_runs.start(broken, "--resume", run, processes=processes))

    for ours, theirs in zip(training_runs.load_checkpoint(broken), training_runs.load_checkpoint(whole), strict=True):
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name
    networks = {path.read_bytes() for path in tmp_path.glob("*/artifacts/few/1/network.onnx")}
    assert len(networks) == 1


def _times_of_checkpoints(run: Path) -> set[int]:
    """When the checkpoint and the previous one were written. For a moment, only the previous one exists."""
    times = set[int]()
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        with suppress(FileNotFoundError):
            times.add((run / name).stat().st_mtime_ns)
    return times


def _after_a_while() -> bool:
    time.sleep(random.uniform(0, 1.5))
    return True


@pytest.mark.slow
def test_killed_while_saving_the_one_before_is_whole(few: Path, tmp_path: Path) -> None:
    process = training_runs.start(tmp_path, "--data", few, *OPTIONS)

    def saving() -> bool:
        return any(tmp_path.glob("runs/*/checkpoint.pt")) and any(tmp_path.glob("runs/*/checkpoint.pt.partial"))

    training_runs.kill_when(process, saving)
    network, _ = training_runs.load_checkpoint(tmp_path)
    assert all(tensor.isfinite().all() for tensor in network.values())


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_saves_and_names_the_command_to_resume(few: Path, tmp_path: Path, resumed: bool) -> None:
    process = training_runs.start(
        tmp_path, "--data", few, *training_runs.UNSAVED, "--precision", "float32", "--epochs", 30
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    run = training_runs.only_run(tmp_path).relative_to(tmp_path)
    assert process.returncode == 130
    assert "stopping after this step and saving a checkpoint" in printed
    assert f"resume with: {PYTHON} {training_runs.RUN} --resume {run}; to publish it as it is, use --finish" in printed
    assert "Traceback" not in printed
    if not resumed:
        return
    assert "artifact: artifacts/few/1" in training_runs.finish(training_runs.start(tmp_path, "--resume", run))
    again, _ = training_runs.start(tmp_path, "--resume", run).communicate(timeout=60)
    assert f"error: this run is finished: its artifact is {tmp_path}/artifacts/few/1" in again
    assert not (tmp_path / "artifacts" / "few" / "2").exists()


@pytest.mark.slow
def test_ctrl_c_before_the_first_step_says_so(few: Path, tmp_path: Path) -> None:
    process = training_runs.start(tmp_path, "--data", few, *OPTIONS)
    assert process.stdout is not None
    for line in process.stdout:
        if "3 classes" in line:
            break
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "stopped before the first step: start again"
    assert "Traceback" not in printed


@pytest.mark.slow
def test_ctrl_c_while_measuring_names_the_command_to_resume(images: Path, tmp_path: Path) -> None:
    process = training_runs.start(tmp_path, "--data", images, *OPTIONS, "--epochs", 1)
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("artifacts/patterns/.*/network.onnx")):  # exported; it is measured next
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"\nstopped while measuring the network; resume with: {PYTHON}" in printed
    assert "Traceback" not in printed
    assert "artifact: artifacts/patterns/1" in training_runs.finish(
        training_runs.start(tmp_path, "--resume", training_runs.only_run(tmp_path))
    )


@pytest.mark.slow
def test_two_processes_on_one_run_are_refused(few: Path, tmp_path: Path) -> None:
    first = training_runs.start(tmp_path, "--data", few, *OPTIONS)

    def second_is_refused() -> bool:
        if not any(tmp_path.glob("runs/*/checkpoint.pt")):
            return False
        second = training_runs.start(tmp_path, "--resume", training_runs.only_run(tmp_path))
        printed, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another process is working on the run" in printed
        return True

    training_runs.kill_when(first, second_is_refused)


@pytest.mark.slow
def test_a_run_keeps_its_recipe(few: Path, tmp_path: Path) -> None:
    process = training_runs.start(tmp_path, "--data", few, *OPTIONS)
    training_runs.kill_when(process, lambda: any(tmp_path.glob("runs/*/checkpoint.pt")))
    process = training_runs.start(tmp_path, "--resume", training_runs.only_run(tmp_path), "--batch-size", 5)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: --batch-size cannot be combined with --resume" in printed
