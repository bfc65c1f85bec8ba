"""`python benchmarks/gpu_search.py`, where there is a GPU and faiss-gpu: the search on it beside the CPU's.

Answers must be the same, distances and all; times are of one query at a time. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import numpy as np
import torch
import typer

from benchmarks.machine import commit, machine, write
from benchmarks.retrieval import DIM, K, features
from index.gpu_scanner import GpuScanner
from index.nearest import nearest, threads


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 100_000,
    queries: Annotated[int, typer.Option(min=1)] = 50,
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Compare, print and write a dated result; an error where an answer differs."""
    made, asked, on_gpu = features(rows, 1), features(queries, 2), GpuScanner(DIM)
    wanted = np.arange(rows) % 1000 != 0
    taken: dict[str, list[float]] = {"cpu": [], "cuda": []}
    with threads() as pool:
        for query in asked:
            for mask in (None, wanted):
                begun = time.perf_counter()
                there = nearest(made, query, K, pool, mask, on_gpu.scan)
                middle = time.perf_counter()
                here = nearest(made, query, K, pool, mask)
                taken["cuda"].append(1000 * (middle - begun))
                taken["cpu"].append(1000 * (time.perf_counter() - middle))
                np.testing.assert_array_equal(there[0], here[0])
                np.testing.assert_array_equal(there[1], here[1])
    medians = {side: statistics.median(times) for side, times in taken.items()}
    typer.echo(f"{queries} queries over {rows:,} rows, all answers the same; milliseconds: {medians}")
    result = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cuda"))}
    typer.echo(f"written: {write(result | {'rows': rows, 'milliseconds': medians}, output, 'retrieval-cuda')}")


if __name__ == "__main__":
    typer.run(main)
