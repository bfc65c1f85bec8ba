"""How many processes train one network, and the command that resumes them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import torch

from model.exceptions import TrainingError
from training.loop.distributed import DistributedContext, init_distributed


@pytest.mark.parametrize("world_size", ["1", "3"])
def test_two_towers_need_an_even_number_of_processes(world_size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", world_size)
    with pytest.raises(
        TrainingError,
        match=rf"--processes-per-network 2 needs an even number of processes, got {world_size}: "
        "torchrun --nproc-per-node 2",
    ):
        init_distributed("cpu", 2)
    with pytest.raises(TrainingError, match="invalid --processes-per-network 3: choose 1 or 2"):
        init_distributed("cpu", 3)


def test_one_process_is_alone() -> None:
    context = init_distributed("cpu", 1)
    assert (context.rank, context.world_size, context.device) == (0, 1, torch.device("cpu"))
    assert context.any(True)
    assert not context.any(False)
    assert context.from_main(lambda: "x") == "x"


def test_the_command_that_resumes_quotes_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["a run.py", "--data", "x"])
    command = DistributedContext(torch.device("cpu")).resume_command(Path("runs/my run"))
    assert shlex.split(command)[1:] == ["a run.py", "--resume", "runs/my run"]


def test_a_module_is_resumed_by_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/site/alexnet/__main__.py", "train"])
    command = DistributedContext(torch.device("cpu")).resume_command(Path("runs/1"))
    assert shlex.split(command)[1:] == ["train", "--resume", "runs/1"]
