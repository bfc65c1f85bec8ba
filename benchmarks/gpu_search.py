"""Latency of exact search on a GPU (with faiss-gpu), compared with the CPU; their results must be equal.

    python -m benchmarks.gpu_search

One query at a time.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import numpy as np
import typer

from benchmarks.results import RESULTS, OutputOption, write_result
from benchmarks.retrieval import NUM_NEIGHBORS
from benchmarks.synthetic_features import DIM, draw_features
from index.nearest import nearest
from index.scanners import GpuScanner, SearchPool


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Number of features.")] = 100_000,
    num_queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 50,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result; an error where results differ, distances included."""
    features, queries, scanner = draw_features(rows, 1), draw_features(num_queries, 2), GpuScanner(DIM)
    some_excluded = np.arange(rows) % 1000 != 0
    times: dict[str, list[float]] = {"cpu": [], "cuda": []}
    with SearchPool() as pool:
        for query in queries:
            for mask in (None, some_excluded):
                start = time.perf_counter()
                on_gpu = nearest(features, query, NUM_NEIGHBORS, pool, mask, scanner)
                middle = time.perf_counter()
                on_cpu = nearest(features, query, NUM_NEIGHBORS, pool, mask)
                times["cuda"].append(1000 * (middle - start))
                times["cpu"].append(1000 * (time.perf_counter() - middle))
                np.testing.assert_array_equal(on_gpu.rows, on_cpu.rows)
                np.testing.assert_array_equal(on_gpu.distances, on_cpu.distances)
    medians = {device: statistics.median(values) for device, values in times.items()}
    typer.echo(f"{num_queries} queries, {rows:,} rows, all results equal; milliseconds: {medians}")
    write_result(output, "gpu-search-cuda", {"rows": rows, "milliseconds": medians}, "cuda")


if __name__ == "__main__":
    typer.run(main)
