"""`python -m benchmarks.large_index INDEX`: searches among a million images, exact and by codes.

The features are those of INDEX, and mixtures of two real ones of the same label with noise, rectified, until there are
a million: 16.4 GB, mapped into memory. Writes docs/results/.
"""

from __future__ import annotations

import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import torch
import typer
from numpy.typing import NDArray

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.search_during_writes import make_entries, percentiles
from benchmarks.synthetic_features import MIX_ROWS, iter_chunks, mix, read_index
from index.search import Query, SearchMode
from index.store import ImageIndex
from model.artifacts.packed import unpack_bundled
from model.encoder import Encoder
from training.hashing.autoencoder import CodeConfig, train_autoencoder

Array = NDArray[np.float32]
K = 6
MODES: tuple[SearchMode, ...] = ("binary", "exact")


def resident_mb() -> float:
    """Resident memory that is this process's own, in MB; pages of mapped files aside."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure_searches(index: ImageIndex, queries: Array) -> dict[str, Any]:
    """Percentiles of the milliseconds of each mode, and the recall of the binary one, after a warm-up."""
    index.search_ids([Query(queries[0], K)])
    for query in queries:
        index.search_ids([Query(query, K, mode="binary")])
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    recall = []
    for query in queries:
        ids: dict[str, set[int]] = {}
        for mode in MODES:
            start = time.perf_counter()
            (result,) = index.search_ids([Query(query, K, mode=mode)])
            times[mode].append(1000 * (time.perf_counter() - start))
            ids[mode] = set(result.ids.tolist())
        recall.append(len(ids["binary"] & ids["exact"]) / K)
    return {mode: percentiles(values) for mode, values in times.items()} | {"recall_at_6": float(np.mean(recall))}


def main(
    index: Annotated[Path, typer.Argument(help="Index with labels, of features as long as the bundled network's.")],
    rows: Annotated[int, typer.Option(min=10_000, help="Images of the large index.")] = 1_000_000,
    bits: Annotated[int, typer.Option(min=8, help="Code length.")] = 256,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 100,
    folder: Annotated[Path, typer.Option(help="Folder for 17 GB of temporary files.")] = Path(),
    output: OutputOption = RESULTS,
) -> None:
    """Build, open, search, print and write a dated result."""
    features, labels = read_index(index)
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory(dir=folder) as home:
        sample = np.concatenate([features, mix(features, labels, 2 * MIX_ROWS, rows)])
        config = CodeConfig(steps=500, temperature=1 / 32)
        onnx.save(train_autoencoder(sample, bits, config).to_onnx(), Path(home) / "encoder.onnx")
        encoder = Encoder(Path(home) / "encoder.onnx")
        start = time.perf_counter()
        large = ImageIndex.create(Path(home) / "index", unpack_bundled("elpv", Path(home) / "artifacts"))
        large.set_encoder(encoder)
        for chunk in iter_chunks(features, labels, rows):
            large.add(chunk, make_entries(len(large), len(chunk)))
        large.close()
        result |= {"rows": rows, "bits": bits, "build_seconds": time.perf_counter() - start}
        typer.echo(f"built in {result['build_seconds']:.0f} s")
        del large
        before, start = resident_mb(), time.perf_counter()
        store = ImageIndex.open(Path(home) / "index")
        store.set_encoder(encoder)
        result |= {"open_seconds": time.perf_counter() - start}
        result |= measure_searches(store, mix(features, labels, queries, 0))
        result |= {"memory_mb": resident_mb() - before, "process_mb": resident_mb()}
        store.close()
    for name in ("open_seconds", "binary", "exact", "recall_at_6", "memory_mb", "process_mb"):
        typer.echo(f"{name}: {result[name]}")
    typer.echo(f"wrote {write(result, output, 'scale-cpu')}")


if __name__ == "__main__":
    typer.run(main)
