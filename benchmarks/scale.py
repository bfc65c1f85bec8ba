"""`python benchmarks/scale.py INDEX`: a million images on one machine, searched by codes of 256 bits and exactly.

The rows are those of INDEX, real, and mixtures of two real ones of the same label with noise, below zero cut off,
until there are a million: 16.4 GB, mapped into memory. The binary search takes a shortlist by Hamming distance and
measures it exactly. Writes docs/results/.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import numpy as np
import onnx
import torch
import typer
from numpy.typing import NDArray

from benchmarks.living import entries, percentiles
from benchmarks.machine import commit, machine, write
from index.search import Query
from index.store import ImageIndex
from model.artifacts.packed import unpack_bundled
from model.encoder import Encoder
from training.hashing.autoencoder import CodeConfig
from training.hashing.train_codes import make

Array = NDArray[np.float32]
CHUNK = 8192


def real(path: Path) -> tuple[Array, NDArray[np.int64]]:
    """Features and labels' numbers of an index."""
    with closing(ImageIndex.open(path)) as index:
        found = [entry for entry in index.catalog.everything() if entry.label]
        numbers: dict[str | None, int] = {}
        labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in found])
        return np.stack([index.feature(entry.id) for entry in found]), labels


def mixed(features: Array, labels: NDArray[np.int64], count: int, seed: int) -> Array:
    """(count, dim): two images of a label in some proportion, and noise where either isn't zero."""
    draw = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    first = draw.integers(len(order), size=count)
    starts = np.searchsorted(labels[order], labels[order[first]], "left")
    ends = np.searchsorted(labels[order], labels[order[first]], "right")
    second = starts + (draw.random(count) * (ends - starts)).astype(np.int64)
    share = draw.random((count, 1), np.float32)
    rows = features[order[first]] * share + features[order[second]] * (1 - share)
    rows += 0.3 * rows * draw.standard_normal(rows.shape, np.float32)
    return np.maximum(rows, 0, out=rows)


def pieces(features: Array, labels: NDArray[np.int64], rows: int) -> Iterator[Array]:
    """The real rows, then mixtures, made in two threads."""
    yield from np.array_split(features, -(-len(features) // CHUNK))
    left = rows - len(features)
    counts = [min(CHUNK, left - start) for start in range(0, left, CHUNK)]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(counts), 4):
            some = range(start, min(start + 4, len(counts)))
            yield from pool.map(lambda place: mixed(features, labels, counts[place], 1 + place), some)


def held() -> float:
    """Resident memory that is this process's own, in MB; pages of mapped files aside."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(
    index: Annotated[Path, typer.Argument(help="An index with labels, of features as long as the bundled network's.")],
    rows: Annotated[int, typer.Option(min=10_000)] = 1_000_000,
    bits: Annotated[int, typer.Option(min=8)] = 256,
    queries: Annotated[int, typer.Option(min=1)] = 100,
    folder: Annotated[Path, typer.Option(help="Where 17 GB go.")] = Path(),
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Build, open, search, print and write a dated result."""
    features, labels = real(index)
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory(dir=folder) as home:
        some = np.concatenate([features, mixed(features, labels, 2 * CHUNK, rows)])
        chosen = CodeConfig(steps=500, temperature=1 / 32)
        onnx.save(make("autoencoder", some, bits, chosen, None).graph(), Path(home) / "encoder.onnx")
        encoder = Encoder(Path(home) / "encoder.onnx")
        begun = time.perf_counter()
        made = ImageIndex.create(Path(home) / "index", unpack_bundled("elpv", Path(home) / "artifacts"))
        made.use(encoder)
        for piece in pieces(features, labels, rows):
            made.add(piece, entries(len(made), len(piece)))
        made.close()
        result |= {"rows": rows, "bits": bits, "build_seconds": time.perf_counter() - begun}
        typer.echo(f"built in {result['build_seconds']:.0f} s")
        del made
        before, begun = held(), time.perf_counter()
        store = ImageIndex.open(Path(home) / "index")
        store.use(encoder)
        result |= {"open_seconds": time.perf_counter() - begun}
        asked = mixed(features, labels, queries, 0)
        taken: dict[str, list[float]] = {"binary": [], "exact": []}
        hits = []
        for turn in (0, 1):  # the first brings the rows into memory
            for query in asked:
                answers = {}
                for search in ("binary", "exact") if turn or query is asked[0] else ("binary",):
                    begun = time.perf_counter()
                    ((answers[search], _),) = store.answers([Query(query, 6, search=search)])
                    if turn:
                        taken[search].append(1000 * (time.perf_counter() - begun))
                if turn:
                    hits.append(len(set(answers["binary"].tolist()) & set(answers["exact"].tolist())) / 6)
        result |= {search: percentiles(times) for search, times in taken.items()}
        result |= {"recall_at_6": float(np.mean(hits)), "memory_mb": held() - before, "process_mb": held()}
        store.close()
    for name in ("open_seconds", "binary", "exact", "recall_at_6", "memory_mb", "process_mb"):
        typer.echo(f"{name}: {result[name]}")
    typer.echo(f"written: {write(result, output, 'scale-cpu')}")


if __name__ == "__main__":
    typer.run(main)
