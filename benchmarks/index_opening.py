"""`python -m benchmarks.index_opening`: how soon a large index answers, and when all of its rows are verified.

The features are random and rectified. Writes docs/results/.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.search_during_writes import make_entries
from index.search import Query
from index.store import ImageIndex
from model.artifacts.packed import unpack_bundled

CHUNK_ROWS = 8192
NUM_LABELS = 100
REPETITIONS = 3


def build(home: Path, rows: int) -> None:
    """An index of `rows` images of a hundred labels at home/index."""
    draw = np.random.default_rng(0)
    with closing(ImageIndex.create(home / "index", unpack_bundled("elpv", home / "artifacts"))) as index:
        for start in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - start)
            features = np.maximum(draw.standard_normal((count, index.dim), np.float32), 0)
            entries = make_entries(start, count)
            index.add(features, [replace(entry, label=f"{n % NUM_LABELS}") for n, entry in enumerate(entries)])


def measure(path: Path) -> dict[str, float]:
    """Seconds until the index is open, has answered a query, and all rows are verified."""
    start = time.perf_counter()
    with closing(ImageIndex.open(path)) as index:
        query = np.maximum(np.random.default_rng(1).standard_normal(index.dim, np.float32), 0)
        seconds = {"open": time.perf_counter() - start}
        index.search(Query(query))
        seconds["first_answer"] = time.perf_counter() - start
        damaged = index.wait_until_verified()
        assert not damaged, damaged
        seconds["verified"] = time.perf_counter() - start
    return seconds


def main(
    rows: Annotated[int, typer.Option(min=1, help="Images of the index.")] = 100_000,
    folder: Annotated[Path, typer.Option(help="Folder for the index, 21 kB per image.")] = Path(),
    output: OutputOption = RESULTS,
) -> None:
    """Build, open several times, print and write a dated result."""
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    with tempfile.TemporaryDirectory(dir=folder) as home:
        build(Path(home), rows)
        result |= {"rows": rows, "seconds": [measure(Path(home) / "index") for _ in range(REPETITIONS)]}
    for seconds in result["seconds"]:
        typer.echo("  ".join(f"{name}: {value:.2f} s" for name, value in seconds.items()))
    typer.echo(f"wrote {write(result, output, 'opening-cpu')}")


if __name__ == "__main__":
    typer.run(main)
