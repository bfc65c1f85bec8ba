"""Measure latency, recall and memory of exact and 256-bit binary searches in an index of a million images.

    python -m benchmarks.large_index INDEX

The features are those of INDEX plus noisy mixtures of two of them with the same label, up to a million: 16.4 GB, mapped
into memory.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from numpy.typing import NDArray

from benchmarks.command import run_main
from benchmarks.memory import measure_private_memory
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.synthetic_features import CHUNK_ROWS, Array, iter_mixed_features, mix_features, read_labeled_features
from benchmarks.synthetic_index import create_index
from benchmarks.timing import summarize_latencies
from index.folder.store import FolderIndex
from index.scanning.quantized_copies import COPY_THREAD
from index.search import Query, SearchMode
from model.encoder import Encoder
from training.hashing.autoencoder import CodeConfig, train_autoencoder

NUM_NEIGHBORS = 6
MODES: tuple[SearchMode, ...] = ("binary", "exact")


def train_encoder(features: Array, labels: NDArray[np.int64], bits: int, seed: int, target: Path) -> Encoder:
    """Train an encoder on the features and mixtures of them, and write it to `target`."""
    sample = np.concatenate([features, mix_features(features, labels, 2 * CHUNK_ROWS, seed)])
    onnx.save(train_autoencoder(sample, bits, CodeConfig(steps=500, temperature=1 / 32)).to_onnx(), target)
    return Encoder(target)


def wait_for_copies() -> float:
    """Seconds until exact search has 8-bit copies of all rows; a thread starts to make them at the first search."""
    start = time.perf_counter()
    for thread in threading.enumerate():
        if thread.name == COPY_THREAD:
            thread.join()
    return time.perf_counter() - start


def measure_searches(index: FolderIndex, queries: Array) -> dict[str, Any]:
    """Latencies of each mode and the recall of binary search, after a warm-up."""
    index.search_ids([Query(queries[0], NUM_NEIGHBORS)])
    index.search_ids([Query(queries[0], NUM_NEIGHBORS, mode="exact")])
    copy_seconds = wait_for_copies()
    for query in queries:
        index.search_ids([Query(query, NUM_NEIGHBORS, mode="binary")])
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    recall = []
    for query in queries:
        ids: dict[str, set[int]] = {}
        for mode in MODES:
            start = time.perf_counter()
            (result,) = index.search_ids([Query(query, NUM_NEIGHBORS, mode=mode)])
            times[mode].append(1000 * (time.perf_counter() - start))
            ids[mode] = set(result.ids.tolist())
        recall.append(len(ids["binary"] & ids["exact"]) / NUM_NEIGHBORS)
    latencies = {mode: summarize_latencies(values) for mode, values in times.items()}
    return {"copy_seconds": copy_seconds, "milliseconds": latencies, "recall_at_6": float(np.mean(recall))}


def measure(home: Path, encoder: Encoder, queries: Array) -> dict[str, Any]:
    """Open the index, search in it, and measure memory."""
    before, start = measure_private_memory(), time.perf_counter()
    with closing(FolderIndex.open(home / "index")) as index:
        index.set_encoder(encoder)
        index.search_ids([Query(queries[0], NUM_NEIGHBORS, mode="binary")])
        open_seconds = time.perf_counter() - start
        searches = measure_searches(index, queries)
        memory = measure_private_memory()
    return {"open_seconds": open_seconds, **searches, "memory_mb": memory - before, "process_mb": memory}


def main(
    index: Annotated[Path, typer.Argument(help="Index with labels, and features as long as the bundled network's.")],
    rows: Annotated[int, typer.Option(min=10_000, help="Images in the large index.")] = 1_000_000,
    bits: Annotated[int, typer.Option(min=8, help="Code length.")] = 256,
    num_queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 100,
    folder: Annotated[Path, typer.Option(help="Folder for 17 GB of temporary files.")] = Path(),
    output: OutputOption = RESULTS,
) -> None:
    """Create a large index, open it, search in it, print and write a dated result."""
    features, labels = read_labeled_features(index)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        home = Path(temporary)
        encoder = train_encoder(features, labels, bits, rows, home / "encoder.onnx")
        start = time.perf_counter()
        create_index(home, iter_mixed_features(features, labels, rows), encoder).close()
        build_seconds = time.perf_counter() - start
        typer.echo(f"built in {build_seconds:.0f} s")
        measured = measure(home, encoder, mix_features(features, labels, num_queries, 0))
    result = {"rows": rows, "bits": bits, "build_seconds": build_seconds, **measured}
    typer.echo(format_table(result["milliseconds"], "milliseconds"))
    for name in ("open_seconds", "copy_seconds", "recall_at_6", "memory_mb", "process_mb"):
        typer.echo(f"{name}: {result[name]:.3g}")
    write_result(output, "large-index-cpu", result)


if __name__ == "__main__":
    run_main(main)
