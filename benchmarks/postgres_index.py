"""Compare an index on PostgreSQL with the same index in a folder: insertion rate, size, latency, recall, equal answers.

    python -m benchmarks.postgres_index INDEX --postgres postgresql://me@127.0.0.1/images

The features are those of INDEX plus noisy mixtures of two of them with the same label; the codes come from an encoder
trained on them. The database needs pgvector; the benchmark's schemas are deleted at the end.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import psycopg
import typer

from benchmarks.command import run_main
from benchmarks.large_index import train_encoder
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.synthetic_features import Array, iter_mixed_features, mix_features, read_labeled_features
from benchmarks.synthetic_index import make_entries
from benchmarks.timing import summarize_latencies
from index.backends import IndexUri, open_or_create
from index.feature_space import RowDType
from index.postgres.address import PostgresAddress
from index.protocol import Index, require_codes
from index.search import NearestIds, Query, SearchMode
from model.artifacts.artifact import Artifact
from model.artifacts.packed import unpack_bundled
from model.encoder import Encoder

NUM_NEIGHBORS = 10
SCHEMA = "alexnet_benchmark"
DTYPES: tuple[RowDType, ...] = ("float32", "float16")
MODES: tuple[SearchMode, ...] = ("exact", "binary")


class Measurement(NamedTuple):
    """One index's measured numbers, and the results of its exact search for each query."""

    numbers: dict[str, float]
    exact: list[NearestIds]


def measure(
    uri: IndexUri, artifact: Artifact, dtype: RowDType, encoder: Encoder, make_chunks: Callable[[], Any], queries: Array
) -> Measurement:
    """Build an index, and search it after a warm-up."""
    numbers, count, start = dict[str, float](), 0, time.perf_counter()
    with closing(open_or_create(uri, artifact, dtype)) as index:
        require_codes(index).set_encoder(encoder)
        for chunk in make_chunks():
            index.add(chunk, make_entries(count, len(chunk)))
            count += len(chunk)
        numbers["images_added_per_second"] = count / (time.perf_counter() - start)
        numbers["bytes_per_image"] = size_of(uri) / count
        results = {mode: search_all(index, mode, queries, numbers) for mode in MODES}
    same = [
        len(set(binary.ids.tolist()) & set(exact.ids.tolist())) / NUM_NEIGHBORS
        for binary, exact in zip(results["binary"], results["exact"], strict=True)
    ]
    numbers["recall_at_10"] = float(np.mean(same))
    return Measurement(numbers, results["exact"])


def search_all(index: Index, mode: SearchMode, queries: Array, numbers: dict[str, float]) -> list[NearestIds]:
    """The nearest images for each query, searched one by one; the median latency is added to `numbers`."""
    index.search_ids([Query(queries[0], NUM_NEIGHBORS, mode=mode)])
    results, times = [], []
    for query in queries:
        start = time.perf_counter()
        results += index.search_ids([Query(query, NUM_NEIGHBORS, mode=mode)])
        times.append(1000 * (time.perf_counter() - start))
    numbers[f"{mode}_ms_p50"] = summarize_latencies(times)["p50"]
    return results


def size_of(uri: IndexUri) -> int:
    """Bytes on disk."""
    if uri.folder is not None:
        return sum(file.stat().st_size for file in uri.folder.iterdir())
    assert isinstance(uri.location, PostgresAddress)
    with psycopg.connect(uri.location.connection_uri) as connection:
        statement = """
            SELECT sum(pg_total_relation_size(tables.oid)) FROM pg_class AS tables
            JOIN pg_namespace AS schemas ON schemas.oid = tables.relnamespace
            WHERE tables.relkind = 'r' AND schemas.nspname = %s"""
        rows = connection.execute(statement, [uri.location.schema]).fetchall()
    return int(rows[0][0])


def delete_schemas(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        for dtype in DTYPES:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA}_{dtype} CASCADE")


def compare(folder: Measurement, postgres: Measurement) -> dict[str, float]:
    """The share of queries with the same neighbors in the same order, and the largest relative distance difference."""
    pairs = list(zip(folder.exact, postgres.exact, strict=True))
    differences = [
        np.abs(theirs.distances - ours.distances) / np.maximum(ours.distances, 1e-12) for ours, theirs in pairs
    ]
    return {
        "equal_answers": float(np.mean([np.array_equal(ours.ids, theirs.ids) for ours, theirs in pairs])),
        "largest_relative_difference": float(np.max(differences)),
    }


def main(
    index: Annotated[Path, typer.Argument(help="Index with labels and 4096-d features.")],
    postgres: Annotated[str, typer.Option(help="Database with pgvector, as postgresql://USER@HOST/DATABASE.")],
    rows: Annotated[int, typer.Option(min=10_000, help="Images in each index.")] = 100_000,
    bits: Annotated[int, typer.Option(min=8, help="Code length.")] = 256,
    num_queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 30,
    folder: Annotated[Path, typer.Option(help="Folder for 3 GB of temporary files.")] = Path(),
    output: OutputOption = RESULTS,
) -> None:
    """Build and search each index, compare them, print and write a dated result."""
    features, labels = read_labeled_features(index)
    queries = mix_features(features, labels, num_queries, 0)
    separator = "&" if "?" in postgres else "?"
    measurements: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        home = Path(temporary)
        artifact = unpack_bundled("elpv", home / "artifacts")
        encoder = train_encoder(features, labels, bits, rows, home / "encoder.onnx")
        delete_schemas(postgres)
        for dtype in DTYPES:
            uris = {"folder": str(home / dtype), "PostgreSQL": f"{postgres}{separator}schema={SCHEMA}_{dtype}"}
            for name, uri in uris.items():
                measured = measure(
                    IndexUri.parse(uri), artifact, dtype, encoder,
                    lambda: iter_mixed_features(features, labels, rows), queries,
                )  # fmt: skip
                typer.echo(f"{name}, {dtype}: {measured.numbers}")
                measurements[f"{name}, {dtype}"] = measured
        delete_schemas(postgres)
    numbers = {name: measured.numbers for name, measured in measurements.items()}
    result = {
        "rows": rows,
        "bits": bits,
        "indexes": numbers,
        "postgres_beside_folder": {
            dtype: compare(measurements[f"folder, {dtype}"], measurements[f"PostgreSQL, {dtype}"]) for dtype in DTYPES
        },
    }
    typer.echo(format_table(numbers))
    typer.echo(f"PostgreSQL beside a folder: {result['postgres_beside_folder']}")
    write_result(output, "postgres-index-cpu", result)


if __name__ == "__main__":
    run_main(main)
