"""torchrun over two hosts, one of them killed: the run is resumed from its checkpoint, to the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import training_runs
from tests.helpers.hosts import Host, hosts


def start(made: list[Host], home: Path, *options: object) -> list[subprocess.Popen[str]]:
    """Start the same command on each host, as an operator types it, in a folder that all hosts see."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", len(made), "--nproc-per-node", 1]
    torchrun += ["--master-addr", made[0].address, "--master-port", 29400]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
    return [
        host.start(
            [*torchrun, "--node-rank", rank, training_runs.RUN, *options],
            cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank, host in enumerate(made)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("towers", [1, 2], ids=["replicas", "towers"])
def test_killed_and_resumed(few: Path, tmp_path: Path, towers: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    options = ["--data", few, *training_runs.OPTIONS, "--processes-per-network", towers]
    training_runs.finish(training_runs.start(whole, *options, processes=2))
    with hosts(2) as made:
        first, second = start(made, broken, *options)
        training_runs.kill_when(second, lambda: any(broken.glob("runs/*/checkpoint.pt")))
        printed, _ = first.communicate(timeout=120)
        assert first.returncode == 1, printed  # it doesn't wait for ever
        run = training_runs.only_run(broken)
        assert torch.load(run / "checkpoint.pt", weights_only=True)["epoch"] < 3
        for process in start(made, broken, "--resume", run):
            training_runs.finish(process)
    for ours, theirs in zip(training_runs.load_checkpoint(broken), training_runs.load_checkpoint(whole), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name
    assert len({path.read_bytes() for path in tmp_path.glob("*/artifacts/few/1/network.onnx")}) == 1
