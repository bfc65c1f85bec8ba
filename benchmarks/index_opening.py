"""Time to open a large index: until it is open, until its first result, and until all rows are verified.

    python -m benchmarks.index_opening

The features are random and rectified.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.synthetic_features import CHUNK_ROWS, DIM, Array
from benchmarks.synthetic_index import create_index
from index.folder.store import FolderIndex
from index.search import Query

REPEATS = 3


def draw_chunks(rows: int) -> Iterator[Array]:
    """Yield chunks of random features, `rows` in all."""
    generator = np.random.default_rng(0)
    for start in range(0, rows, CHUNK_ROWS):
        yield np.maximum(generator.standard_normal((min(CHUNK_ROWS, rows - start), DIM), np.float32), 0)


def measure(path: Path) -> dict[str, float]:
    """Seconds until the index is open, has answered a query, and has verified all rows."""
    query = np.maximum(np.random.default_rng(1).standard_normal(DIM, np.float32), 0)
    start = time.perf_counter()
    with closing(FolderIndex.open(path)) as index:
        seconds = {"open": time.perf_counter() - start}
        index.search(Query(query))
        seconds["first_result"] = time.perf_counter() - start
        damaged = index.wait_until_verified()
        assert not damaged, damaged
        seconds["verified"] = time.perf_counter() - start
    return seconds


def main(
    rows: Annotated[int, typer.Option(min=1, help="Images in the index.")] = 100_000,
    folder: Annotated[Path, typer.Option(help="Folder for the index, 21 kB per image.")] = Path(),
    output: OutputOption = RESULTS,
) -> None:
    """Create an index, open it several times, print and write a dated result."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        create_index(Path(home), draw_chunks(rows)).close()
        repeats = [measure(Path(home) / "index") for _ in range(REPEATS)]
    typer.echo(format_table({f"repeat {number}": seconds for number, seconds in enumerate(repeats, 1)}, "seconds"))
    write_result(output, "index-opening-cpu", {"rows": rows, "seconds": repeats})


if __name__ == "__main__":
    run_main(main)
