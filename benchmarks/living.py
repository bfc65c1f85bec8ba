"""`python benchmarks/living.py`: searching while images are added, beside searching in quiet.

20,000 rows; one thread searches without a pause while four add ready features, 200 a second in all. Every addition is
on the disk when it returns. Writes docs/results/.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import numpy as np
import torch
import typer

from benchmarks.machine import commit, machine, write
from benchmarks.retrieval import features
from index.catalog import NewEntry
from index.nearest import Rows
from index.search import Query
from index.store import ImageIndex
from model.artifacts.packed import unpack_bundled


def entries(first: int, count: int, label: str | None = None) -> list[NewEntry]:
    """Images that aren't there: what is stored beside a feature, thumbnails of a usual size."""
    return [NewEntry(f"{n:064d}", label, None, "JPEG", 256, 256, bytes(4000)) for n in range(first, first + count)]


def filled(path: Path, artifacts: Path, rows: Rows) -> ImageIndex:
    """A new index of these (N, 4096) features."""
    index = ImageIndex.create(path, unpack_bundled("elpv", artifacts))
    for start in range(0, len(rows), 2000):
        index.add(rows[start : start + 2000], entries(start, len(rows[start : start + 2000])))
    return index


def searching(index: ImageIndex, queries: Rows, seconds: float) -> list[float]:
    """Milliseconds of searches, one after the other, for so long."""
    taken, over, place = [], time.perf_counter() + seconds, 0
    while (begun := time.perf_counter()) < over:
        index.search(Query(queries[place % len(queries)], 6))
        taken.append(1000 * (time.perf_counter() - begun))
        place += 1
    return taken


def adding(index: ImageIndex, rows: Rows, first: int, rate: float, taken: list[float]) -> None:
    """Add one by one, `rate` a second; milliseconds of each."""
    begun = time.perf_counter()
    for place in range(len(rows)):
        time.sleep(max(0.0, begun + place / rate - time.perf_counter()))
        started = time.perf_counter()
        index.add(rows[place : place + 1], entries(first + place, 1))
        taken.append(1000 * (time.perf_counter() - started))


def percentiles(taken: Sequence[float]) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(taken, share)) for share in (50, 95, 99)} | {"count": len(taken)}


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 20_000,
    rate: Annotated[float, typer.Option(min=1, help="Additions a second, in all.")] = 200,
    seconds: Annotated[float, typer.Option(min=1)] = 20,
    threads: Annotated[int, typer.Option(min=1)] = 4,
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Measure, print and write a dated result."""
    queries, each = features(50, 2), int(rate * seconds / threads)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        index = filled(Path(folder) / "index", Path(folder) / "artifacts", features(rows, 1))
        more = features(threads * each, 3)
        searching(index, queries, 2)
        quiet = searching(index, queries, seconds)
        taken: list[float] = []
        workers = [
            threading.Thread(
                target=adding, args=(index, more[n * each : (n + 1) * each], rows + n * each, rate / threads, taken)
            )
            for n in range(threads)
        ]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        busy = searching(index, queries, seconds)
        for worker in workers:
            worker.join()
        reached = len(taken) / (time.perf_counter() - begun)
        index.close()
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    result |= {"rows": rows, "additions_per_second": reached, "quiet": percentiles(quiet), "busy": percentiles(busy)}
    result |= {"additions": percentiles(taken), "p99_ratio": percentiles(busy)["p99"] / percentiles(quiet)["p99"]}
    for name in ("quiet", "busy", "additions"):
        typer.echo(f"{name:9} {result[name]}")
    typer.echo(f"{reached:.0f} additions a second; p99 of a search {result['p99_ratio']:.2f} times the quiet one")
    typer.echo(f"written: {write(result, output, 'living-cpu')}")


if __name__ == "__main__":
    typer.run(main)
