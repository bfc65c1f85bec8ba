"""`python -m benchmarks.soak`: a server at its capacity for ten minutes; its memory must not grow.

Open loop at the peak measured just before, JPEGs small and large, cut-off ones among them. Writes docs/results/.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.load_generator import closed_loop, open_loop, percentiles, rate_of
from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.servers import Server, start_server
from benchmarks.serving import CLIENTS, DEADLINE, mix

SAMPLE_INTERVAL = 5.0


def sample_memory(server: Server, stop: threading.Event, samples: list[int]) -> None:
    """Append the resident bytes every five seconds."""
    while not stop.wait(SAMPLE_INTERVAL):
        samples.append(server.memory)


def main(
    artifact: Annotated[Path, typer.Option(help="A full-size artifact.")],
    data: Annotated[str, typer.Option(help="Whose test images are sent.")] = "grocery",
    archive: Annotated[Path | None, typer.Option(help="The zip file of the data set.")] = None,
    seconds: Annotated[float, typer.Option(min=60)] = 600.0,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    images = mix(data, archive, 100)
    bodies = [body[: len(body) // 2] if number % 20 == 7 else body for number, body in enumerate(images)]
    memory, stop = list[int](), threading.Event()
    command = ["-m", "alexnet", "serve", "--artifact", str(artifact), "--port", "{port}"]
    with start_server(command, images[0]) as server, server.running():
        peak = rate_of(asyncio.run(closed_loop(server.url, images, CLIENTS, 20)), 20)
        watcher = threading.Thread(target=sample_memory, args=(server, stop, memory))
        watcher.start()
        samples = asyncio.run(open_loop(server.url, bodies, peak, seconds, 1, DEADLINE))
        stop.set()
        watcher.join()
    statuses = [sample.status for sample in samples]
    parts = [float(np.median(part)) / 1e6 for part in np.array_split(memory[len(memory) // 10 :], 3)]
    result = {
        "date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu")),
        "seconds": seconds, "requests": len(samples), "offered_per_second": peak,
        "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "latency_ms": percentiles([sample.latency for sample in samples if sample.status == 200]),
        "memory_mb_by_third": parts, "memory_mb_most": max(memory) / 1e6,
    }  # fmt: skip
    for key, value in result.items():
        typer.echo(f"{key}: {value}")
    typer.echo(f"written: {write(result, output, 'soak-cpu')}")


if __name__ == "__main__":
    typer.run(main)
