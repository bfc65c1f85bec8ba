"""Time ten crops of an image, and a training step, with and without huge pages (`model.huge_pages`).

    python -m benchmarks.huge_pages --artifact artifacts/grocery

Each side runs in its own process, since moved memory can't be moved back. The two take turns; a figure is the median
over rounds, and a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.training import CreateStep, create_our_step, measure_pair, separate_process
from model.artifacts import artifact as artifacts
from model.huge_pages import SETTING, use_huge_pages
from model.images.contract import IMAGE_SIZE
from model.images.crops import TEN_CROP
from model.runtime import OnnxModel

CPU = torch.device("cpu")


def create_ten_crop(network: Path, device: torch.device) -> Callable[[], None]:
    """Ten crops of one image, as the server runs them."""
    model = OnnxModel(network, device.type)
    image = np.random.default_rng(0).integers(0, 256, (1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)

    def step() -> None:
        model.run(image, TEN_CROP)

    return step


def compare(keeps_memory: bool, rounds: int, create_step: CreateStep, *arguments: Any) -> dict[str, float]:
    """Median milliseconds with and without huge pages, and how many times faster it is with them."""
    with (
        separate_process(keeps_memory, create_step, *arguments, huge_pages=True) as huge,
        separate_process(keeps_memory, create_step, *arguments, huge_pages=False) as small,
    ):
        measured = measure_pair(huge, small, rounds)
    return {
        "with_milliseconds": 1000 * measured["ours_seconds"],
        "without_milliseconds": 1000 * measured["theirs_seconds"],
        "ratio": measured["ratio"],
    }


def time_moving(network: Path) -> dict[str, float]:
    """Seconds to move the memory of a network that has run, and the size of the moved memory in MiB."""
    create_ten_crop(network, CPU)()
    start = time.perf_counter()
    size = use_huge_pages()
    return {"moved_megabytes": size / 2**20, "moving_seconds": time.perf_counter() - start}


def main(
    artifact: Annotated[Path, typer.Option(help="Full-size artifact; its int8 network, if any, is measured, too.")],
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds of each pair.")] = 40,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per training step.")] = 64,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    if not SETTING.is_file() or "[madvise]" not in (setting := SETTING.read_text()):
        raise typer.BadParameter(f"this system doesn't give huge pages on request: set {SETTING} to madvise")
    loaded = artifacts.load(artifact)
    rows = {"ten crops, float32": compare(False, rounds, create_ten_crop, loaded.network_path, CPU)}
    int8 = artifacts.NETWORK_FILES["int8"]
    if int8 in loaded.manifest.files:
        rows["ten crops, int8"] = compare(False, rounds, create_ten_crop, loaded.path / int8, CPU)
    for precision in ("float32", "bfloat16"):
        steps = max(1, rounds // 5)
        rows[f"training step, {precision}"] = compare(True, steps, create_our_step, batch_size, CPU, precision, False)
    result = {"setting": setting.strip(), "comparisons": rows, "batch_size": batch_size} | time_moving(
        loaded.network_path
    )
    typer.echo(format_table(rows))
    write_result(output, "huge-pages-cpu", result)


if __name__ == "__main__":
    run_main(main)
