"""`python -m benchmarks.gpu_search`: search on a GPU (with faiss-gpu) beside the CPU.

Results must be the same, distances included; times are of one query at a time. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import time
from datetime import date
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.retrieval import K
from benchmarks.synthetic_features import DIM, draw_features
from index.nearest import nearest
from index.scanners import GpuScanner, SearchPool


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Number of features.")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 50,
    output: OutputOption = RESULTS,
) -> None:
    """Compare, print and write a dated result; an error where a result differs."""
    features, query_features, scanner = draw_features(rows, 1), draw_features(queries, 2), GpuScanner(DIM)
    few_masked = np.arange(rows) % 1000 != 0
    times: dict[str, list[float]] = {"cpu": [], "cuda": []}
    with SearchPool() as pool:
        for query in query_features:
            for mask in (None, few_masked):
                start = time.perf_counter()
                on_gpu = nearest(features, query, K, pool, mask, scanner)
                middle = time.perf_counter()
                on_cpu = nearest(features, query, K, pool, mask)
                times["cuda"].append(1000 * (middle - start))
                times["cpu"].append(1000 * (time.perf_counter() - middle))
                np.testing.assert_array_equal(on_gpu.rows, on_cpu.rows)
                np.testing.assert_array_equal(on_gpu.distances, on_cpu.distances)
    medians = {device: statistics.median(values) for device, values in times.items()}
    typer.echo(f"{queries} queries over {rows:,} rows, all results equal; milliseconds: {medians}")
    result = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cuda"))}
    typer.echo(f"wrote {write(result | {'rows': rows, 'milliseconds': medians}, output, 'retrieval-cuda')}")


if __name__ == "__main__":
    typer.run(main)
