"""What a result was measured on: machine and commit."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from model.runtime import available_cpus

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
OutputOption = Annotated[Path, typer.Option(help="Folder for the result file.")]


def machine(device: torch.device) -> dict[str, Any]:
    """What computed, in words."""
    facts: dict[str, Any] = {"cores": available_cpus(), "torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cuda":
        return facts | {"device": torch.cuda.get_device_name(device)}
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return facts | {"device": names[0].partition(": ")[2] if names else platform.processor()}


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, all of it."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_peak(device: torch.device, dtype: torch.dtype = torch.float32, side: int | None = None) -> float:
    """TFLOP/s of matrix products, the best of ten: what no program in this precision can pass."""
    side = side or (2048 if device.type == "cpu" else 8192)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = min(timed(lambda: torch.mm(a, b), device) for _ in range(10))
    return float(2 * side**3 / seconds / 1e12)


def commit() -> str:
    """Of the source tree, with `+` where files were changed."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write(result: dict[str, Any], output: Path, name: str) -> Path:
    """Write a result, dated, to a file of the folder `output`."""
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{name}-{result['date']}.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    return target
