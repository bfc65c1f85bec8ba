"""Measure speed and memory of building the image cache, compared with the decoder alone on the same files.

    python -m benchmarks.image_cache --data DATA

The decoder reads and decodes every file on all cores and keeps nothing: no cache can be built faster. Both formats of
the cache and the decoder take turns; memory is that of the process without file pages.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from alexnet.cli.options import ArchiveOption, DataOption
from benchmarks.command import run_main
from benchmarks.memory import measure_private_memory
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.sampling import sample_repeatedly
from benchmarks.timing import median_ratio
from model.cpus import available_cpus
from model.exceptions import InvalidImageError
from model.images.preprocess import decode_image
from model.malloc import keep_freed_memory
from training.data.cache import CacheFormat, build_cache
from training.data.datasets import Dataset, Example
from training.data.loading import load_dataset

DECODER = "decoder alone"
SAMPLE_INTERVAL = 1.0
WARM_UP_IMAGES = 256


def decode_all(dataset: Dataset) -> float:
    """Seconds to decode all images."""

    def decode(example: Example) -> None:
        with suppress(InvalidImageError):  # a cache skips it, too
            decode_image(example.path.read_bytes())

    start = time.perf_counter()
    with ThreadPoolExecutor(available_cpus()) as pool:
        deque(pool.map(decode, dataset.examples), maxlen=0)
    return time.perf_counter() - start


def build(dataset: Dataset, cache_format: CacheFormat) -> tuple[float, list[float]]:
    """Seconds to build a cache, and samples of memory in MB during the build."""
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        sample_repeatedly(measure_private_memory, SAMPLE_INTERVAL) as memory,
    ):
        start = time.perf_counter()
        build_cache(dataset, Path(folder), cache_format)
        return time.perf_counter() - start, memory


def measure(dataset: Dataset, rounds: int) -> dict[str, dict[str, Any]]:
    """Images per second of the decoder and of each format, and memory of the last build of each."""
    formats: tuple[CacheFormat, ...] = get_args(CacheFormat)
    times: dict[str, list[float]] = {name: [] for name in (DECODER, *formats)}
    memory: dict[str, list[float]] = {}
    for _ in range(rounds):
        times[DECODER].append(decode_all(dataset))
        for cache_format in formats:
            seconds, memory[cache_format] = build(dataset, cache_format)
            times[cache_format].append(seconds)
    rows: dict[str, dict[str, Any]] = {}
    for name, values in times.items():
        rows[name] = {
            "images_per_second": len(dataset.examples) / statistics.median(values),
            "relative_to_decoder": median_ratio(times[DECODER], values),
        }
        if samples := memory.get(name):
            rows[name] |= summarize_memory(samples)
    return rows


def summarize_memory(samples: list[float]) -> dict[str, float]:
    """MB: the median of the second quarter of a build, and the maximum of its second half."""
    quarter, half = len(samples) // 4, len(samples) // 2
    return {
        "second_quarter_memory_mb": statistics.median(samples[quarter : half + 1]),
        "second_half_max_memory_mb": max(samples[half:]),
    }


def main(
    data: DataOption,
    archive: ArchiveOption = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times that each training image is read.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Builds of each format.")] = 3,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, and write a dated result."""
    keep_freed_memory()  # as training/run.py does
    dataset = load_dataset(data, archive=archive)
    decode_all(replace(dataset, train=dataset.train[:WARM_UP_IMAGES], validation=(), test=()))
    dataset = replace(dataset, train=dataset.train * repeats)
    rows = measure(dataset, rounds)
    typer.echo(format_table(rows))
    write_result(output, "image-cache-cpu", {"data": dataset.name, "images": len(dataset.examples), "formats": rows})


if __name__ == "__main__":
    run_main(main)
