"""Measure latency and recall of exact search, compared with FAISS's flat index and approximate indexes.

    python -m benchmarks.retrieval

Features are synthetic, clustered and rectified as the network's are; with `--index`, they are those of a labeled index
and mixtures of them. Queries run one at a time; the methods take turns. *Reading* is the time to read all features once
with all processors. Also writes a plot.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.synthetic_features import (
    CHUNK_ROWS,
    DIM,
    draw_features,
    iter_mixed_features,
    mix_features,
    read_labeled_features,
)
from index.features import FeatureFile
from index.scanning.nearest import nearest, nearest_batch
from index.scanning.scanners import FeatureMatrix, SearchedRows, SearchPool
from model.cpus import available_cpus

NUM_NEIGHBORS = 10
READ_ROWS = 64
BATCH_QUERIES = 32
BATCH_REPEATS = 5
WARM_UP_QUERIES = 2
READING, OURS = "reading", "ours"
Method = Callable[[FeatureMatrix], NDArray[np.int64]]
"""Query (dim,) -> the rows of its ten neighbors."""


def create_reading(features: FeatureMatrix, pool: SearchPool) -> Method:
    """Copy all features, block by block, to a buffer that stays in the processor's cache. Returns no rows."""
    parts = np.array_split(np.arange(len(features)), available_cpus())

    def read(part: NDArray[np.int64]) -> None:
        buffer = np.empty((READ_ROWS, DIM), np.float32)
        for start in range(part[0], part[-1] + 1, READ_ROWS):
            block = features[start : min(start + READ_ROWS, part[-1] + 1)]
            np.copyto(buffer[: len(block)], block)

    def run(query: FeatureMatrix) -> NDArray[np.int64]:
        list(pool.map(read, parts))
        return np.empty(0, np.int64)

    return run


def create_ours(file: FeatureFile, rows: int, pool: SearchPool) -> Method:
    """This program's search in the first `rows` rows."""
    features = file.matrix()[:rows]
    if file.copies is not None:
        file.copies.prepare(features)
    searched = SearchedRows(features, pool)
    return lambda query: nearest(searched, query, NUM_NEIGHBORS, copies=file.copies).rows


def create_full_scan(features: FeatureMatrix, pool: SearchPool) -> Method:
    """This program's search in rows that have no 8-bit copies yet."""
    return lambda query: nearest(SearchedRows(features, pool), query, NUM_NEIGHBORS).rows


def create_faiss_flat(features: FeatureMatrix) -> Method:
    """FAISS's exact index, as in its tutorial."""
    index = faiss.IndexFlatL2(DIM)
    index.add(features)
    return lambda query: index.search(query[None], NUM_NEIGHBORS)[1][0]


def create_faiss_ivf(features: FeatureMatrix) -> Method:
    """FAISS's inverted file with its defaults, which search one list."""
    index = faiss.index_factory(DIM, f"IVF{int(4 * len(features) ** 0.5)},Flat")
    index.train(features)
    index.add(features)
    return lambda query: index.search(query[None], NUM_NEIGHBORS)[1][0]


def create_usearch_hnsw(features: FeatureMatrix) -> Method:
    """usearch's graph (HNSW) with its defaults."""
    from usearch.index import Index

    index = Index(ndim=DIM, metric="l2sq")
    index.add(np.arange(len(features)), features, threads=available_cpus())
    return lambda query: np.asarray(index.search(query, NUM_NEIGHBORS).keys, np.int64)


def create_methods(files: dict[str, FeatureFile], rows: int, approximate: bool, pool: SearchPool) -> dict[str, Method]:
    """All methods on the first `rows` rows."""
    features = files["float32"].matrix()[:rows]
    methods = {
        READING: create_reading(features, pool),
        OURS: create_ours(files["float32"], rows, pool),
        "ours, without 8-bit copies": create_full_scan(features, pool),
        "ours, float16": create_ours(files["float16"], rows, pool),
        "FAISS, flat": create_faiss_flat(features),
    }
    if approximate:
        methods["FAISS, inverted file"] = create_faiss_ivf(features)
        methods["usearch, HNSW"] = create_usearch_hnsw(features)
    return methods


def measure(methods: dict[str, Method], queries: FeatureMatrix) -> dict[str, dict[str, float]]:
    """Median milliseconds per query, and recall of the exact ten neighbors, for each method; the methods take turns."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    recall: dict[str, list[float]] = {name: [] for name in methods}
    for query in queries:
        neighbors = {}
        for name, search in methods.items():
            start = time.perf_counter()
            neighbors[name] = search(query)
            times[name].append(1000 * (time.perf_counter() - start))
        for name in set(methods) - {READING}:
            recall[name].append(len(set(neighbors[name].tolist()) & set(neighbors[OURS].tolist())) / NUM_NEIGHBORS)
    reading = statistics.median(times[READING])
    return {
        name: {"milliseconds": statistics.median(values), "relative_to_reading": statistics.median(values) / reading}
        | ({"recall_at_10": statistics.mean(recall[name])} if recall[name] else {})
        for name, values in times.items()
    }


def measure_batch(file: FeatureFile, rows: int, queries: FeatureMatrix, pool: SearchPool) -> dict[str, float]:
    """Milliseconds for all queries, one by one and as one batch: medians of five repeats after a warm-up."""
    searched = SearchedRows(file.matrix()[:rows], pool)
    repeats = []
    for _ in range(1 + BATCH_REPEATS):
        start = time.perf_counter()
        for query in queries:
            nearest(searched, query, NUM_NEIGHBORS, copies=file.copies)
        middle = time.perf_counter()
        nearest_batch(searched, file.squared_norms, queries, NUM_NEIGHBORS, file.copies)
        repeats.append((middle - start, time.perf_counter() - middle))
    single, batch = (1000 * statistics.median(column) for column in zip(*repeats[1:], strict=True))
    return {"rows": rows, "queries": len(queries), "one_by_one_ms": single, "batch_ms": batch, "ratio": single / batch}


def draw_plot(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Plot time and recall of every method."""
    figure = Figure(figsize=(6 * len(results), 3.6), layout="constrained")
    for axis, (title, methods) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        for name, row in methods.items():
            marker = "o" if name != READING else "|"
            axis.plot(row["milliseconds"], 100 * row.get("recall_at_10", 1), marker, label=name)
        axis.set(title=title, xlabel="milliseconds per query", ylabel="recall at 10, %", xscale="log", ylim=(0, 105))
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def create_features(index: Path | None, rows: int, num_queries: int) -> tuple[FeatureMatrix, FeatureMatrix]:
    """`rows` features, and the queries' features: synthetic, or an index's real features plus mixtures of them."""
    if index is None:
        return draw_features(rows, 1), draw_features(num_queries, 2)
    features, labels = read_labeled_features(index)
    queries = mix_features(features, labels, num_queries, 0)
    return np.concatenate(list(iter_mixed_features(features, labels, rows))), queries


def write_features(folder: Path, features: FeatureMatrix) -> dict[str, FeatureFile]:
    """Write the same features to files in float32 and in float16."""
    files = {dtype: FeatureFile(folder / dtype, DIM, 0, dtype) for dtype in ("float32", "float16")}
    for file in files.values():
        for start in range(0, len(features), CHUNK_ROWS):
            chunk = features[start : start + CHUNK_ROWS]
            file.append(chunk)
            file.commit(len(chunk))
    return files


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Rows for the exact methods.")] = 100_000,
    approximate_rows: Annotated[int, typer.Option(min=1000, help="Rows for all methods.")] = 20_000,
    num_queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 20,
    index: Annotated[
        Path | None,
        typer.Option(help="Index with labels, to use its features and mixtures of them instead of synthetic ones."),
    ] = None,
    approximate: Annotated[bool, typer.Option(help="Also measure approximate indexes of other libraries.")] = True,
    name: Annotated[str, typer.Option(help="Name of the result files.")] = "retrieval-cpu",
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    if approximate_rows > rows:
        raise typer.BadParameter(f"--approximate-rows is {approximate_rows:,}, more than the {rows:,} of --rows")
    faiss.omp_set_num_threads(available_cpus())  # overrides OMP_NUM_THREADS, which our search ignores, too
    features, queries = create_features(index, rows, max(num_queries, BATCH_QUERIES) + WARM_UP_QUERIES)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder, SearchPool() as pool:
        files = write_features(Path(folder), features)
        del features
        for count, with_approximate in ((rows, False), (approximate_rows, approximate)):
            methods = create_methods(files, count, with_approximate, pool)
            measure(methods, queries[:WARM_UP_QUERIES])
            title = f"{count:,} rows"
            results[title] = measure(methods, queries[WARM_UP_QUERIES : num_queries + WARM_UP_QUERIES])
            typer.echo(format_table(results[title], title))
            del methods
        batch_queries = np.ascontiguousarray(queries[:BATCH_QUERIES])
        batch = measure_batch(files["float32"], approximate_rows, batch_queries, pool)
        typer.echo(f"{BATCH_QUERIES} queries, {approximate_rows:,} rows: {batch}")
        for file in files.values():
            file.close()
    target = write_result(output, name, {"searches": results, "queries": num_queries, "batch": batch})
    draw_plot(results, target.with_suffix(".png"))


if __name__ == "__main__":
    run_main(main)
