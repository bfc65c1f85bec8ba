"""`python -m benchmarks.image_cache --data IMAGES`: building the image cache, beside the bare decoder.

The decoder's side reads and decodes every file on all cores and forgets it: no cache can be built faster. Both forms of
the cache and the decoder take turns; memory is that of the process without file pages. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from model.exceptions import InvalidImageError
from model.images.preprocess import decode_image
from model.runtime import available_cpus
from training.data.cache import CacheFormat, build_cache
from training.data.datasets import Dataset, Example
from training.data.loading import load_dataset
from training.loop.runtime import disable_malloc_trim


def decoded(dataset: Dataset) -> float:
    """Seconds of the bare decoder over all images."""

    def decode(example: Example) -> None:
        with suppress(InvalidImageError):  # a cache skips it, too
            decode_image(example.path.read_bytes())

    started = time.perf_counter()
    with ThreadPoolExecutor(available_cpus()) as pool:
        deque(pool.map(decode, dataset.examples), maxlen=0)
    return time.perf_counter() - started


def built(dataset: Dataset, cache_format: CacheFormat) -> tuple[float, list[int]]:
    """Seconds of a build, and the memory in MB once a second meanwhile."""
    memory: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            memory.append(_memory())

    with tempfile.TemporaryDirectory(dir=".") as folder:
        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        build_cache(dataset, Path(folder), cache_format)
        seconds = time.perf_counter() - started
        over.set()
        watcher.join()
    return seconds, memory


def _memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024


def main(
    data: Annotated[str, typer.Option(help="As for training/run.py.")],
    archive: Annotated[Path | None, typer.Option(help="As for training/run.py.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Read each training image so many times.")] = 1,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 3,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, and write a dated result."""
    disable_malloc_trim()  # as training/run.py does
    dataset = load_dataset(data, archive=archive)
    dataset = replace(dataset, train=dataset.train * times)
    count = len(dataset.examples)
    decoded(replace(dataset, train=dataset.train[:256], validation=(), test=()))
    result: dict[str, Any] = {"date": f"{date.today()}", "data": dataset.name, "images": count, "commit": commit()}
    result["machine"] = machine(torch.device("cpu"))
    sides: dict[str, list[float]] = {"decoder": [], "raw": [], "jpeg": []}
    memory: dict[str, list[int]] = {}
    for _ in range(turns):
        sides["decoder"].append(decoded(dataset))
        for form in ("raw", "jpeg"):
            seconds, memory[form] = built(dataset, form)
            sides[form].append(seconds)
    for side, seconds_ in sides.items():
        share = statistics.median(d / s for d, s in zip(sides["decoder"], seconds_, strict=True))
        result[side] = {"images_per_second": count / statistics.median(seconds_), "share_of_decoder": share}
        line = f"{side:8s} {result[side]['images_per_second']:7.0f} images/s, {share:.2f} of the decoder's speed"
        if memory.get(side):
            held = memory[side]
            quarter = statistics.median(held[len(held) // 4 : len(held) // 2 + 1])
            result[side] |= {"memory_mb_early": quarter, "memory_mb_most_after": max(held[len(held) // 2 :])}
            line += f"; memory {quarter:.0f} MB early on, at most {max(held[len(held) // 2 :])} MB in the second half"
        typer.echo(line)
    typer.echo(f"written: {write(result, output, 'cache')}")


if __name__ == "__main__":
    typer.run(main)
