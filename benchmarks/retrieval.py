"""`python benchmarks/retrieval.py`: the nearest of many features, beside FAISS called plainly and an approximate index.

Features are drawn as the network's are: never below zero, in clusters. One query at a time, in turns. *Reading* is the
time to read the rows' bytes once with all processors: what no exact search can pass. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import faiss
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.machine import commit, machine, write
from index.features import FeatureRows
from index.nearest import Rows, nearest
from model.runtime import available_cpus

DIM, K = 4096, 10
Search = Callable[[Rows], NDArray[np.int64]]
"""(dim,) -> the numbers of K rows."""


def features(count: int, seed: int) -> Rows:
    """(count, 4096): 1 of 500 centres and noise, rectified."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(-1, 2, (500, DIM)).astype(np.float32)
    rows = centres[generator.integers(500, size=count)]
    for start in range(0, count, 4096):
        some = rows[start : start + 4096]
        some += generator.normal(0, 1, some.shape).astype(np.float32)
        np.maximum(some, 0, out=some)
    return rows


def reading(rows: Rows, pool: ThreadPoolExecutor) -> Search:
    """Copies all rows, piece by piece, to a place that stays in the cache."""
    parts = np.array_split(np.arange(len(rows)), available_cpus())

    def read(part: NDArray[np.int64]) -> None:
        buffer = np.empty((64, DIM), np.float32)
        for start in range(part[0], part[-1] + 1, 64):
            some = rows[start : min(start + 64, part[-1] + 1)]
            np.copyto(buffer[: len(some)], some)

    def run(query: Rows) -> NDArray[np.int64]:
        list(pool.map(read, parts))
        return np.empty(0, np.int64)

    return run


def plain(rows: Rows) -> Search:
    """FAISS, as its tutorial begins."""
    index = faiss.IndexFlatL2(DIM)
    index.add(rows)
    return lambda query: index.search(query[None], K)[1][0]


def approximate(rows: Rows) -> Search:
    """An inverted file with FAISS's own defaults: one list is looked at."""
    index = faiss.index_factory(DIM, f"IVF{int(4 * len(rows) ** 0.5)},Flat")
    index.train(rows)
    index.add(rows)
    return lambda query: index.search(query[None], K)[1][0]


def measure(sides: dict[str, Search], queries: Rows) -> dict[str, dict[str, float]]:
    """Milliseconds of a query, and the share of the exact ten that each side finds; in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    hits: dict[str, list[float]] = {name: [] for name in sides}
    for query in queries:
        exact = None
        for name, search in sides.items():
            begun = time.perf_counter()
            found = search(query)
            times[name].append(1000 * (time.perf_counter() - begun))
            exact = found if name == "ours" else exact
            if exact is not None:
                hits[name].append(len(set(found) & set(exact)) / K)
    return {
        name: {"milliseconds": statistics.median(times[name])}
        | ({"recall_at_10": statistics.mean(hits[name])} if hits[name] and name != "reading" else {})
        for name in sides
    }


def main(
    rows: Annotated[int, typer.Option(min=10_000, help="For the exact searches.")] = 100_000,
    fewer: Annotated[int, typer.Option(min=10_000, help="For the approximate one.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1)] = 20,
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Measure, print and write a dated result."""
    asked = features(queries + 2, 2)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(available_cpus()) as pool:
        stored = FeatureRows(Path(folder) / "features.f32", DIM, 0)
        stored.append(features(rows, 1))
        stored.commit(rows)
        all_rows = stored.view()

        def of_ours(some: Rows) -> Search:
            return lambda query: nearest(some, query, K, pool)[0]

        few = all_rows[:fewer]
        groups: dict[str, dict[str, Search]] = {
            f"{rows:,} rows": {
                "reading": reading(all_rows, pool), "ours": of_ours(all_rows), "FAISS, plain": plain(all_rows),
            },
            f"{fewer:,} rows": {
                "reading": reading(few, pool), "ours": of_ours(few), "FAISS, plain": plain(few),
                "FAISS, inverted file by default": approximate(few),
            },
        }  # fmt: skip
        found: dict[str, Any] = {}
        for name, sides in groups.items():
            measure(sides, asked[:2])
            found[name] = measure(sides, asked[2:])
            for side, row in found[name].items():
                typer.echo(f"{name}, {side}: {row}")
        stored.close()
    result = {"date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu")), "searches": found}
    typer.echo(f"written: {write(result, output, 'retrieval-cpu')}")


if __name__ == "__main__":
    typer.run(main)
