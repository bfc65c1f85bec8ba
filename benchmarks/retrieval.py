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
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.machine import commit, machine, write
from index.features import FeatureFile
from index.float16_scanner import Float16Scanner
from index.nearest import Rows, nearest, nearest_batch, scan, threads
from model.runtime import available_cpus

DIM, K = 4096, 10
Search = Callable[[Rows], NDArray[np.int64]]
"""(dim,) -> the numbers of K rows."""


def features(count: int, seed: int) -> Rows:
    """(count, 4096): 1 of 500 centers and noise, rectified."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(-1, 2, (500, DIM)).astype(np.float32)
    rows = centers[generator.integers(500, size=count)]
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


def hierarchical(rows: Rows) -> Search:
    """usearch's graph (HNSW) with its own defaults."""
    from usearch.index import Index

    index = Index(ndim=DIM, metric="l2sq")
    index.add(np.arange(len(rows)), rows, threads=available_cpus())
    return lambda query: np.asarray(index.search(query, K).keys, np.int64)


def measure(sides: dict[str, Search], queries: Rows) -> dict[str, dict[str, float]]:
    """Milliseconds of a query, and the share of the exact ten that each side finds; in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    hits: dict[str, list[float]] = {name: [] for name in sides}
    for query in queries:
        answers = {}
        for name, search in sides.items():
            begun = time.perf_counter()
            answers[name] = search(query)
            times[name].append(1000 * (time.perf_counter() - begun))
        for name in set(sides) - {"reading"}:
            hits[name].append(len(set(answers[name].tolist()) & set(answers["ours"].tolist())) / K)
    reading = statistics.median(times["reading"])
    return {
        name: {"milliseconds": statistics.median(taken), "of_reading": statistics.median(taken) / reading}
        | ({"recall_at_10": statistics.mean(hits[name])} if hits[name] else {})
        for name, taken in times.items()
    }


def together(rows: Rows, norms: NDArray[np.float32], queries: Rows, pool: ThreadPoolExecutor) -> dict[str, float]:
    """32 queries one by one and at once, five turns."""
    none, pairs = np.empty(0, np.int64), []
    for _ in range(6):
        begun = time.perf_counter()
        for query in queries:
            nearest(rows, query, K, pool)
        middle = time.perf_counter()
        nearest_batch(rows, norms, queries, K, pool, none)
        pairs.append((middle - begun, time.perf_counter() - middle))
    alone, at_once = (1000 * statistics.median(column) for column in zip(*pairs[1:], strict=True))
    return {"one_by_one_ms": alone, "together_ms": at_once, "ratio": alone / at_once}


def draw(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Time and recall of every side."""
    figure = Figure(figsize=(6 * len(found), 3.6), layout="constrained")
    for axis, (name, sides) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for side, row in sides.items():
            axis.plot(
                row["milliseconds"], 100 * row.get("recall_at_10", 1), "o" if side != "reading" else "|", label=side
            )
        axis.set(title=name, xlabel="milliseconds a query", ylabel="recall at 10, %", xscale="log", ylim=(0, 105))
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def main(
    rows: Annotated[int, typer.Option(min=10_000, help="For the exact searches.")] = 100_000,
    fewer: Annotated[int, typer.Option(min=10_000, help="For the approximate ones.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1)] = 20,
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Measure, print and write a dated result."""
    asked = features(max(queries, 32) + 2, 2)
    with tempfile.TemporaryDirectory(dir=".") as folder, threads() as pool:
        stored, halves = (FeatureFile(Path(folder) / kind, DIM, 0, kind) for kind in ("float32", "float16"))
        made = features(rows, 1)
        for kept in (stored, halves):
            for start in range(0, rows, 4096):
                kept.append(made[start : start + 4096])
                kept.commit(len(made[start : start + 4096]))
        del made
        all_rows = stored.view()

        def of_ours(kept: FeatureFile, count: int) -> Search:
            some, scanned = kept.view()[:count], scan if kept is stored else Float16Scanner().scan
            return lambda query: nearest(some, query, K, pool, None, scanned)[0]

        def exact(count: int) -> dict[str, Search]:
            some = all_rows[:count]
            return {
                "reading": reading(some, pool),
                "ours": of_ours(stored, count),
                "ours, float16": of_ours(halves, count),
                "FAISS, plain": plain(some),
            }

        found: dict[str, Any] = {}
        for count, more in ((rows, False), (fewer, True)):
            sides = exact(count)
            if more:
                sides |= {"FAISS, inverted file by default": approximate(all_rows[:count])}
                sides |= {"usearch, graph by default": hierarchical(all_rows[:count])}
            measure(sides, asked[:2])
            name = f"{count:,} rows"
            found[name] = measure(sides, asked[2 : queries + 2])
            for side, row in found[name].items():
                typer.echo(f"{name}, {side}: " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
            del sides
        at_once = together(all_rows[:fewer], stored.norms(all_rows[:fewer]), np.ascontiguousarray(asked[:32]), pool)
        typer.echo(f"32 queries, {fewer:,} rows: {at_once}")
        stored.close()
        halves.close()
    draw(found, output / "retrieval-cpu.png")
    result = {"date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu"))}
    typer.echo(f"written: {write(result | {'searches': found, 'together': at_once}, output, 'retrieval-cpu')}")


if __name__ == "__main__":
    typer.run(main)
