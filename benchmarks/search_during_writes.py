"""Measure search latency while images are added, compared with an idle index.

    python -m benchmarks.search_during_writes

The index has 20,000 images; one thread searches without a pause while four add images, 200 per second in total. Every
addition is durable when it returns, and its time counts from when it was due. The idle index is measured before and
after, because the index grows.
"""

from __future__ import annotations

import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.synthetic_features import Array, draw_features
from benchmarks.synthetic_index import create_index, make_entries, split_into_chunks
from benchmarks.timing import summarize_latencies, time_call
from index.folder.store import FolderIndex
from index.search import Query

NUM_NEIGHBORS = 6
NUM_QUERIES = 50
MIN_SEARCHES = 200
"""Minimum on the idle index, and while images are added: fewer searches give no 99th percentile."""
WARM_UP_SECONDS = 2.0


def search_repeatedly(index: FolderIndex, queries: Array, seconds: float) -> list[float]:
    """Search for `seconds` without a pause. Returns the milliseconds of each search."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        query = Query(queries[len(times) % len(queries)], NUM_NEIGHBORS)
        times.append(1000 * time_call(partial(index.search, query)))
    return times


def add_at_rate(index: FolderIndex, features: Array, first: int, rate: float, times: list[float]) -> None:
    """Add images one by one, `rate` per second. Append to `times` the milliseconds since each was due."""
    start = time.perf_counter()
    for number in range(len(features)):
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        index.add(features[number : number + 1], make_entries(first + number, 1))
        times.append(1000 * (time.perf_counter() - due))


def search_while_adding(
    index: FolderIndex, queries: Array, features: Array, rate: float, seconds: float, num_threads: int
) -> tuple[list[float], list[float], float]:
    """Milliseconds of each search and of each addition, and the achieved additions per second."""
    times: list[float] = []
    rows, parts = len(index), np.array_split(features, num_threads)
    threads = []
    for part in parts:
        arguments = (index, part, rows, rate / num_threads, times)
        threads.append(threading.Thread(target=add_at_rate, args=arguments))
        rows += len(part)
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    search_times = search_repeatedly(index, queries, seconds)
    for thread in threads:
        thread.join()
    return search_times, times, len(times) / (time.perf_counter() - start)


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Images in the index at first.")] = 20_000,
    rate: Annotated[float, typer.Option(min=1, help="Additions per second, over all threads.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each measurement.")] = 20,
    num_threads: Annotated[int, typer.Option(min=1, help="Threads that add images.")] = 4,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    queries, features = draw_features(NUM_QUERIES, 2), draw_features(int(rate * seconds), 3)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        index = create_index(Path(folder), split_into_chunks(draw_features(rows, 1)))
        search_repeatedly(index, queries, WARM_UP_SECONDS)
        idle = search_repeatedly(index, queries, seconds / 2)
        busy, additions, reached = search_while_adding(index, queries, features, rate, seconds, num_threads)
        idle += search_repeatedly(index, queries, seconds / 2)
        num_rows = len(index)
        index.close()
    if min(len(idle), len(busy)) < MIN_SEARCHES:
        raise SystemExit(f"{min(len(idle), len(busy))} searches are too few for a p99: increase --seconds")
    latencies = {
        "search, idle": summarize_latencies(idle),
        "search, while adding": summarize_latencies(busy),
        "addition": summarize_latencies(additions),
    }
    ratio = latencies["search, while adding"]["p99"] / latencies["search, idle"]["p99"]
    typer.echo(format_table(latencies, "milliseconds"))
    typer.echo(f"{reached:.0f} additions per second; the p99 of a search is {ratio:.2f} times that of an idle index")
    result = {
        "rows": rows,
        "rows_after": num_rows,
        "additions_per_second": reached,
        "milliseconds": latencies,
        "p99_ratio": ratio,
    }
    write_result(output, "search-during-writes-cpu", result)


if __name__ == "__main__":
    run_main(main)
