"""`python training/run.py` and `torchrun training/run.py` as a user starts them, small and on the CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RUN = Path(__file__).parents[2] / "training" / "run.py"
UNSAVED = [
    "--hidden", "16", "--epochs", "2", "--batch-size", "10", "--precision", "float64", "--device", "cpu",
    "--keep-checkpoint",
]  # fmt: skip
OPTIONS = [*UNSAVED, "--save-steps", "1"]
Weights = dict[str, Tensor]


def start(home: Path, *options: object, processes: int = 1, script: Path = RUN) -> subprocess.Popen[str]:
    """Start a training run in the folder `home`, as in an activated environment."""
    python = [sys.executable] if processes == 1 else [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)
    ]  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as for a user
    return subprocess.Popen(
        [*python, str(script), *map(str, options)],
        cwd=home,
        env=inherited | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=accept_ctrl_c,
        text=True,
    )


def accept_ctrl_c() -> None:
    """Restore SIGINT's default: a shell's background processes ignore it, and ours would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait until the process succeeds. Returns its output."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def kill_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """kill -9 the training and all its processes as soon as `condition` holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for pid in _process_tree(process.pid):  # torchrun's workers have sessions of their own and would live on
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def _process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _process_tree(int(child)))]


def only_run(home: Path) -> Path:
    """The folder of the only run below `home`."""
    (run,) = (home / "runs").iterdir()
    return run


def load_checkpoint(home: Path) -> tuple[Weights, Weights]:
    """The weights and momenta of the only run's checkpoint."""
    state = torch.load(only_run(home) / "checkpoint.pt", weights_only=True)
    return state["weights"], state["momenta"]
