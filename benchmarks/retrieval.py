"""`python -m benchmarks.retrieval`: exact search beside FAISS's flat index and approximate indexes.

Features are drawn as the network's are: never below zero, in clusters; with `--index`, they are those of an index with
labels, and mixtures of them. One query at a time; the methods take turns.
*Reading* is the time to read all features once with all processors: no exact search can be faster. Writes
docs/results/.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.synthetic_features import CHUNK_ROWS, DIM, draw_features, iter_chunks, mix, read_index
from index.features import FeatureFile
from index.nearest import nearest, nearest_batch
from index.quantized_scanner import QuantizedScanner
from index.scanners import FeatureMatrix, SearchPool
from model.runtime import available_cpus

K = 10
READ_ROWS = 64
BATCH_QUERIES = 32
BATCH_ROUNDS = 5
Method = Callable[[FeatureMatrix], NDArray[np.int64]]
"""Query (dim,) -> K rows."""


def reading(features: FeatureMatrix, pool: SearchPool) -> Method:
    """Copies all features, piece by piece, to a buffer that stays in the cache."""
    parts = np.array_split(np.arange(len(features)), available_cpus())

    def read(part: NDArray[np.int64]) -> None:
        buffer = np.empty((READ_ROWS, DIM), np.float32)
        for start in range(part[0], part[-1] + 1, READ_ROWS):
            piece = features[start : min(start + READ_ROWS, part[-1] + 1)]
            np.copyto(buffer[: len(piece)], piece)

    def run(query: FeatureMatrix) -> NDArray[np.int64]:
        list(pool.map(read, parts))
        return np.empty(0, np.int64)

    return run


def exact_search(file: FeatureFile, count: int, pool: SearchPool) -> Method:
    """This project's search in the first `count` rows."""
    features = file.matrix()[:count]
    if isinstance(file.scanner, QuantizedScanner):
        file.scanner.prepare(features)
    return lambda query: nearest(features, query, K, pool, None, file.scanner).rows


def full_scan(features: FeatureMatrix, pool: SearchPool) -> Method:
    """This project's search of rows that have no 8-bit copies yet."""
    return lambda query: nearest(features, query, K, pool).rows


def faiss_flat(features: FeatureMatrix) -> Method:
    """FAISS, as its tutorial begins."""
    index = faiss.IndexFlatL2(DIM)
    index.add(features)
    return lambda query: index.search(query[None], K)[1][0]


def faiss_ivf(features: FeatureMatrix) -> Method:
    """An inverted file with FAISS's own defaults: one list is searched."""
    index = faiss.index_factory(DIM, f"IVF{int(4 * len(features) ** 0.5)},Flat")
    index.train(features)
    index.add(features)
    return lambda query: index.search(query[None], K)[1][0]


def usearch_hnsw(features: FeatureMatrix) -> Method:
    """usearch's graph (HNSW) with its own defaults."""
    from usearch.index import Index

    index = Index(ndim=DIM, metric="l2sq")
    index.add(np.arange(len(features)), features, threads=available_cpus())
    return lambda query: np.asarray(index.search(query, K).keys, np.int64)


def measure(methods: dict[str, Method], queries: FeatureMatrix) -> dict[str, dict[str, float]]:
    """Median milliseconds per query, and recall of the exact ten, for each method; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    recall: dict[str, list[float]] = {name: [] for name in methods}
    for query in queries:
        results = {}
        for name, search in methods.items():
            start = time.perf_counter()
            results[name] = search(query)
            times[name].append(1000 * (time.perf_counter() - start))
        for name in set(methods) - {"reading"}:
            recall[name].append(len(set(results[name].tolist()) & set(results["ours"].tolist())) / K)
    reading_time = statistics.median(times["reading"])
    return {
        name: {"milliseconds": statistics.median(values), "of_reading": statistics.median(values) / reading_time}
        | ({"recall_at_10": statistics.mean(recall[name])} if recall[name] else {})
        for name, values in times.items()
    }


def measure_batch(
    features: FeatureMatrix, squared_norms: NDArray[np.float32], queries: FeatureMatrix, pool: SearchPool
) -> dict[str, float]:
    """Queries one by one and as one batch: medians of five rounds after a warm-up."""
    excluded, rounds = np.empty(0, np.int64), []
    for _ in range(1 + BATCH_ROUNDS):
        start = time.perf_counter()
        for query in queries:
            nearest(features, query, K, pool)
        middle = time.perf_counter()
        nearest_batch(features, squared_norms, queries, K, pool, excluded)
        rounds.append((middle - start, time.perf_counter() - middle))
    single, batch = (1000 * statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return {"one_by_one_ms": single, "batch_ms": batch, "ratio": single / batch}


def draw_plot(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Time and recall of every method."""
    figure = Figure(figsize=(6 * len(results), 3.6), layout="constrained")
    for axis, (title, methods) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        for name, row in methods.items():
            marker = "o" if name != "reading" else "|"
            axis.plot(row["milliseconds"], 100 * row.get("recall_at_10", 1), marker, label=name)
        axis.set(title=title, xlabel="milliseconds per query", ylabel="recall at 10, %", xscale="log", ylim=(0, 105))
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def features_like(index: Path, rows: int, queries: int) -> tuple[FeatureMatrix, FeatureMatrix]:
    """The real features of an index with labels and mixtures of them, `rows` in all, and other mixtures as queries."""
    features, labels = read_index(index)
    return np.concatenate(list(iter_chunks(features, labels, rows))), mix(features, labels, queries, 0)


def store_features(folder: Path, features: FeatureMatrix) -> dict[str, FeatureFile]:
    """The same features in float32 and in float16."""
    files = {dtype: FeatureFile(folder / dtype, DIM, 0, dtype) for dtype in ("float32", "float16")}
    for file in files.values():
        for start in range(0, len(features), CHUNK_ROWS):
            chunk = features[start : start + CHUNK_ROWS]
            file.append(chunk)
            file.commit(len(chunk))
    return files


def main(
    rows: Annotated[int, typer.Option(min=10_000, help="Rows for the exact searches.")] = 100_000,
    fewer: Annotated[int, typer.Option(min=10_000, help="Rows for the approximate ones.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 20,
    index: Annotated[
        Path | None, typer.Option(help="Index with labels: its features and mixtures of them, instead of drawn ones.")
    ] = None,
    approximate: Annotated[bool, typer.Option(help="Also measure approximate indexes of other libraries.")] = True,
    name: Annotated[str, typer.Option(help="Name of the result's files.")] = "retrieval-cpu",
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    num_queries = max(queries, BATCH_QUERIES) + 2
    if index is None:
        features, query_features = draw_features(rows, 1), draw_features(num_queries, 2)
    else:
        features, query_features = features_like(index, rows, num_queries)
    with tempfile.TemporaryDirectory(dir=".") as folder, SearchPool() as pool:
        files = store_features(Path(folder), features)
        del features
        matrix = files["float32"].matrix()
        results: dict[str, Any] = {}
        for count, with_approximate in ((rows, False), (fewer, approximate)):
            methods = {
                "reading": reading(matrix[:count], pool),
                "ours": exact_search(files["float32"], count, pool),
                "ours, without 8-bit copies": full_scan(matrix[:count], pool),
                "ours, float16": exact_search(files["float16"], count, pool),
                "FAISS, flat": faiss_flat(matrix[:count]),
            }
            if with_approximate:
                methods["FAISS, inverted file by default"] = faiss_ivf(matrix[:count])
                methods["usearch, graph by default"] = usearch_hnsw(matrix[:count])
            measure(methods, query_features[:2])  # warm-up
            title = f"{count:,} rows"
            results[title] = measure(methods, query_features[2 : queries + 2])
            for method, row in results[title].items():
                typer.echo(f"{title}, {method}: " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
            del methods
        squared_norms = files["float32"].squared_norms(matrix[:fewer])
        batch_queries = np.ascontiguousarray(query_features[:BATCH_QUERIES])
        batch = measure_batch(matrix[:fewer], squared_norms, batch_queries, pool)
        typer.echo(f"{BATCH_QUERIES} queries, {fewer:,} rows: {batch}")
        for file in files.values():
            file.close()
    facts = {"date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu"))}
    typer.echo(f"wrote {write(facts | {'searches': results, 'batch': batch}, output, name)}")
    draw_plot(results, output / f"{name}.png")


if __name__ == "__main__":
    typer.run(main)
