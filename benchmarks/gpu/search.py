"""Measure exact search on a GPU with faiss: the index's own scanner, and float16 features; both must match the CPU.

A float16 search finds candidates, whose distances are then computed in float64. The features are stored in float16, so
that the GPU's copy is exact; only the query is rounded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.retrieval import NUM_NEIGHBORS
from benchmarks.synthetic_features import CHUNK_ROWS, DIM, NUM_CLUSTERS
from benchmarks.timing import time_call
from index.scanning.distances import NearestRows, nearest_candidates
from index.scanning.nearest import nearest
from index.scanning.scanners import OVERFETCH, FullScanner, GpuScanner, Mask, Scanner, SearchedRows, SearchPool
from model.cpus import available_cpus
from model.exceptions import DeviceError
from model.requirements import INSTALL_GPU

NUM_CANDIDATES = NUM_NEIGHBORS + 10 * OVERFETCH
"""Candidates that a float16 search fetches: its rounding changes the order of rows at nearly the same distance."""
BATCH_QUERIES = 32
Search = Callable[[NDArray[np.float32]], NearestRows]
"""The nearest rows of one query (4096,)."""


class Task(NamedTuple):
    """Features (N, 4096), queries (Q, 4096), and the CPU's results."""

    features: NDArray[np.float16]
    queries: NDArray[np.float32]
    expected: Sequence[NearestRows]


def draw_float16_features(count: int, seed: int) -> NDArray[np.float16]:
    """(count, 4096) in float16: one of 500 centers plus noise, rectified as the network's features are."""
    centers = np.random.default_rng(0).normal(-1, 2, (NUM_CLUSTERS, DIM)).astype(np.float32)
    features = np.empty((count, DIM), np.float16)

    def draw(start: int) -> None:
        generator = np.random.default_rng((seed, start))
        chunk = features[start : start + CHUNK_ROWS]
        values = generator.standard_normal(chunk.shape, np.float32)
        values += centers[generator.integers(NUM_CLUSTERS, size=len(chunk))]
        chunk[:] = np.maximum(values, 0, out=values)

    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(draw, range(0, count, CHUNK_ROWS)))
    return features


def create_float16_index(features: NDArray[np.float16], device: str) -> faiss.Index:
    """A faiss index of the features in float16: on the first GPU, or for `cpu` a scalar quantizer.

    Raises DeviceError if there is no GPU or no faiss-gpu.
    """
    index: faiss.Index
    if device == "cpu":
        index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
        index.train(features[:1].astype(np.float32))
    else:
        if not getattr(faiss, "get_num_gpus", lambda: 0)():
            raise DeviceError(f"searching on a GPU needs a GPU and faiss-gpu: {INSTALL_GPU}")
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), DIM, config)
    for start in range(0, len(features), CHUNK_ROWS):
        index.add(features[start : start + CHUNK_ROWS].astype(np.float32))
    return index


def search_float16(index: faiss.Index, features: NDArray[np.float16], query: NDArray[np.float32]) -> NearestRows:
    """The nearest, by distance in float64, of the rows that a float16 search finds."""
    _, rows = index.search(query[None], NUM_CANDIDATES)
    return nearest_candidates(features, rows[0][rows[0] >= 0], query, NUM_NEIGHBORS)


def run_queries(search: Search, queries: NDArray[np.float32]) -> tuple[list[NearestRows], dict[str, float]]:
    """The result of each query, searched one at a time, and the latencies."""
    results, milliseconds = list[NearestRows](), list[float]()
    for query in queries:
        milliseconds.append(1000 * time_call(lambda query=query: results.append(search(query))))  # type: ignore[misc]
    return results, summarize(milliseconds)


def summarize(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {"p50_ms": statistics.median(milliseconds), "p99_ms": float(np.percentile(milliseconds, 99))}


def share_of_equal(results: Sequence[NearestRows], expected: Sequence[NearestRows]) -> float:
    """The share of the queries with the same rows at the same distances."""
    equal = [
        np.array_equal(ours.rows, theirs.rows) and np.array_equal(ours.distances, theirs.distances)
        for ours, theirs in zip(results, expected, strict=True)
    ]
    return sum(equal) / len(equal)


def measure_search(name: str, search: Search, task: Task, rows: RowWriter) -> None:
    """Measure the time per query; write an error unless every result, including distances, equals the CPU's."""

    def measure_queries() -> dict[str, float]:
        search(task.queries[0])  # copies the features, if that isn't done yet
        results, times = run_queries(search, task.queries)
        return times | {"share_equal": share_of_equal(results, task.expected)}

    row = rows.measure(name, measure_queries)
    if row is not None and row["share_equal"] < 1:
        rows.fail(f"{name}: equal to the CPU", f"{100 * (1 - row['share_equal']):.0f} % of the queries differ")


def measure_batch(index: faiss.Index, queries: NDArray[np.float32]) -> dict[str, float]:
    """Time per query of a search in float16 for many queries at once, without re-scoring."""
    batch = np.resize(queries, (BATCH_QUERIES, DIM))
    index.search(batch, NUM_CANDIDATES)
    times = [1000 * time_call(lambda: index.search(batch, NUM_CANDIDATES)) / BATCH_QUERIES for _ in range(5)]
    return summarize(times)


def measure_float16(task: Task, device: str, rows: RowWriter) -> None:
    """Measure faiss's float16 index: one query at a time with re-scoring, and in a batch without."""
    try:
        index = create_float16_index(task.features, device)
    except DeviceError as error:
        rows.fail("float16, re-scored", str(error))
        return
    measure_search("float16, re-scored", partial(search_float16, index, task.features), task, rows)
    rows.measure(f"float16, {BATCH_QUERIES} queries at once", partial(measure_batch, index, task.queries))


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Measure the CPU's scan, float16 with re-scoring, and the index's scanner on the GPU, also with rows left out."""
    count, num_queries = (3000, 4) if options.is_quick else (1_000_000, 20)
    features = draw_float16_features(count, 1)
    queries = draw_float16_features(num_queries, 2).astype(np.float32)
    queries += np.random.default_rng(3).random(queries.shape, np.float32)  # not exact in float16
    some_excluded = np.arange(count) % 1000 != 0
    with SearchPool() as pool:

        def search_exactly(scanner: Scanner, mask: Mask | None, query: NDArray[np.float32]) -> NearestRows:
            return nearest(SearchedRows(features, pool, mask), query, NUM_NEIGHBORS, scanner)

        expected, times = run_queries(partial(search_exactly, FullScanner(), None), queries)
        rows.measure("CPU, one scan", lambda: {"rows": count} | times)
        measure_float16(Task(features, queries, expected), options.device, rows)
        if options.device == "cpu":
            rows.leave_out("the index's scanner on the GPU", "needs a GPU and faiss-gpu")
            return
        try:
            scanner = GpuScanner(DIM)
        except DeviceError as error:
            rows.fail("the index's scanner on the GPU", str(error))
            return
        for name, mask in (("", None), (", rows left out", some_excluded)):
            on_cpu, _ = run_queries(partial(search_exactly, FullScanner(), mask), queries)
            search = partial(search_exactly, scanner, mask)
            measure_search(f"the index's scanner, float32{name}", search, Task(features, queries, on_cpu), rows)
