"""Soak test: run a server at its capacity for ten minutes and record its memory, which must not grow, and responses.

    python -m benchmarks.soak --artifact ARTIFACT --data grocery

The load is an open loop at the peak measured just before, with small and large JPEGs; one body in twenty is truncated.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from alexnet.cli.options import ArchiveOption, DataOption
from benchmarks.command import run_main
from benchmarks.load_generator import count_statuses, measure_peak, read_images, run_open_loop, success_latencies
from benchmarks.results import RESULTS, OutputOption, write_result
from benchmarks.sampling import sample_repeatedly
from benchmarks.servers import Server, start_server
from benchmarks.timing import summarize_latencies

SAMPLE_INTERVAL = 5.0
PEAK_SECONDS = 20.0


def measure_memory(server: Server) -> float:
    """Memory of a server in MB; 0 if it has ended, and then the benchmark fails when the load ends."""
    return server.memory / 1e6 if server.process.poll() is None else 0.0


def main(
    artifact: Annotated[Path, typer.Option(help="Full-size artifact.")],
    data: DataOption = "grocery",
    archive: ArchiveOption = None,
    seconds: Annotated[float, typer.Option(min=60, help="Duration.")] = 600.0,
    output: OutputOption = RESULTS,
) -> None:
    """Put the server under load; print and write a dated result."""
    images = read_images(data, archive, 100)
    bodies = [body[: len(body) // 2] if number % 20 == 7 else body for number, body in enumerate(images)]
    command = ["-m", "alexnet", "serve", "--artifact", str(artifact), "--port", "{port}"]
    with start_server(command, images[0]) as server, server.running():
        peak = measure_peak(server.url, images, PEAK_SECONDS)
        with sample_repeatedly(lambda: measure_memory(server), SAMPLE_INTERVAL) as memory:
            samples = asyncio.run(run_open_loop(server.url, bodies, peak, seconds))
    thirds = np.array_split(memory[len(memory) // 10 :], 3)  # the first tenth is a warm-up
    result = {
        "seconds": seconds,
        "requests": len(samples),
        "offered_per_second": peak,
        "statuses": count_statuses(samples),
        "latency_ms": summarize_latencies(success_latencies(samples)),
        "median_memory_mb_by_third": [float(np.median(third)) for third in thirds],
        "max_memory_mb": max(memory),
    }
    for key, value in result.items():
        typer.echo(f"{key}: {value}")
    write_result(output, "soak-cpu", result)


if __name__ == "__main__":
    run_main(main)
