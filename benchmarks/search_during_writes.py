"""`python -m benchmarks.search_during_writes`: search latency while images are added, beside an idle index.

20,000 images; one thread searches without a pause while four add features, 200 per second in all. Every addition is
durable when it returns. Writes docs/results/.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.synthetic_features import draw_features
from index.entries import NewEntry
from index.scanners import FeatureMatrix
from index.search import Query
from index.store import ImageIndex
from model.artifacts.packed import unpack_bundled

COMMIT_ROWS = 2000
WARM_UP_SECONDS = 2.0


def make_entries(first: int, count: int) -> list[NewEntry]:
    """Entries without images, with thumbnails of a usual size."""
    return [NewEntry(f"{n:064d}", None, None, "JPEG", 256, 256, bytes(4000)) for n in range(first, first + count)]


def make_index(path: Path, artifacts: Path, features: FeatureMatrix) -> ImageIndex:
    """A new index of (N, 4096) features."""
    index = ImageIndex.create(path, unpack_bundled("elpv", artifacts))
    for start in range(0, len(features), COMMIT_ROWS):
        chunk = features[start : start + COMMIT_ROWS]
        index.add(chunk, make_entries(start, len(chunk)))
    return index


def search_for(index: ImageIndex, queries: FeatureMatrix, seconds: float) -> list[float]:
    """Search without a pause for so long. Returns the milliseconds of each search."""
    times, end, number = [], time.perf_counter() + seconds, 0
    while (start := time.perf_counter()) < end:
        index.search(Query(queries[number % len(queries)], 6))
        times.append(1000 * (time.perf_counter() - start))
        number += 1
    return times


def add_at_rate(index: ImageIndex, features: FeatureMatrix, first: int, rate: float, times: list[float]) -> None:
    """Add images one by one, `rate` per second. Appends the milliseconds of each to `times`."""
    begin = time.perf_counter()
    for number in range(len(features)):
        time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        start = time.perf_counter()
        index.add(features[number : number + 1], make_entries(first + number, 1))
        times.append(1000 * (time.perf_counter() - start))


def percentiles(times: Sequence[float]) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(times, share)) for share in (50, 95, 99)} | {"count": len(times)}


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Images in the index at first.")] = 20_000,
    rate: Annotated[float, typer.Option(min=1, help="Additions per second, in all.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each measurement.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads that add.")] = 4,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    queries, per_thread = draw_features(50, 2), int(rate * seconds / threads)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        index = make_index(Path(folder) / "index", Path(folder) / "artifacts", draw_features(rows, 1))
        new = draw_features(threads * per_thread, 3)
        search_for(index, queries, WARM_UP_SECONDS)
        idle = search_for(index, queries, seconds)
        times: list[float] = []
        workers = [
            threading.Thread(
                target=add_at_rate,
                args=(index, new[n * per_thread : (n + 1) * per_thread], rows + n * per_thread, rate / threads, times),
            )
            for n in range(threads)
        ]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        busy = search_for(index, queries, seconds)
        for worker in workers:
            worker.join()
        reached = len(times) / (time.perf_counter() - start)
        index.close()
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    result |= {"rows": rows, "additions_per_second": reached, "idle": percentiles(idle), "busy": percentiles(busy)}
    result |= {"additions": percentiles(times), "p99_ratio": percentiles(busy)["p99"] / percentiles(idle)["p99"]}
    for name in ("idle", "busy", "additions"):
        typer.echo(f"{name:9} {result[name]}")
    typer.echo(
        f"{reached:.0f} additions per second; p99 of a search {result['p99_ratio']:.2f} times that of an idle index"
    )
    typer.echo(f"wrote {write(result, output, 'living-cpu')}")


if __name__ == "__main__":
    typer.run(main)
