"""Commands that are printed can be typed as they are, in an activated environment or without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from model.shell_command import Command, alexnet_command, shell_command
from training.loop.distributed import DistributedContext


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's programs, below the working directory and not on PATH."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "alexnet", "torchrun"):
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


def test_a_program_that_is_found_has_its_name(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell_command(programs / "alexnet") == shell_command(Path(".venv/bin/alexnet")) == ".venv/bin/alexnet"
    monkeypatch.chdir(programs)
    assert shell_command(programs / "alexnet") == "./alexnet"
    (programs / "elsewhere").mkdir()
    monkeypatch.chdir(programs / "elsewhere")
    assert shell_command(programs / "alexnet") == str(programs / "alexnet")
    monkeypatch.setenv("PATH", str(programs))
    assert shell_command(programs / "alexnet") == "alexnet"
    assert shell_command(programs / "nothing") == "nothing"


def test_another_one_of_the_same_name_is_not_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a program that links to the same file, as an environment's python links to the system's."""
    other = programs.parent / "other"
    other.mkdir()
    (other / "python").symlink_to(programs / "python")
    monkeypatch.setenv("PATH", str(programs))
    assert shell_command(other / "python") == ".venv/other/python"


def test_alexnet_by_itself_and_by_a_script(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["training/run.py"])
    assert alexnet_command() == ".venv/bin/alexnet"
    monkeypatch.setattr(sys, "argv", [str(programs / "uvicorn")])
    assert alexnet_command() == ".venv/bin/alexnet"
    monkeypatch.setattr(sys, "argv", [str(programs / "alexnet")])
    assert alexnet_command() == ".venv/bin/alexnet"
    assert (
        DistributedContext(torch.device("cpu")).resume_command(Path("runs/a b"))
        == ".venv/bin/alexnet train --resume 'runs/a b'"
    )


def test_the_resume_command_names_what_was_started(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["training/run.py"])
    one, four = DistributedContext(torch.device("cpu")), DistributedContext(torch.device("cpu"), world_size=4)
    assert one.resume_command(Path("runs/a")) == ".venv/bin/python training/run.py --resume runs/a"
    assert four.resume_command(Path("runs/a")) == (
        ".venv/bin/torchrun --nproc-per-node 4 training/run.py --resume runs/a"
    )
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("PATH", str(programs))
    assert four.resume_command(Path("runs/a")).startswith(
        "torchrun --nnodes 2 --rdzv-endpoint HOST:PORT --nproc-per-node 2 "
    )


def test_a_command_has_the_options_that_differ_from_their_defaults(programs: Path) -> None:
    command = Command("index", "add").option("data", Path("my photos")).option("exclude", ("a", "b"))
    command = command.option("max_pixels", 5, 6).option("device", "auto", "auto").option("archive", None)
    command = command.option("class_weights", True).option("drop_near_duplicates", False)
    assert str(command) == (
        ".venv/bin/alexnet index add --data 'my photos' --exclude a --exclude b --max-pixels 5 --class-weights"
    )
    assert str(Command("serve").option("exclude", ())) == ".venv/bin/alexnet serve"
    assert str(Command("classify").option("crops", 1).argument("a b")) == ".venv/bin/alexnet classify --crops 1 'a b'"
