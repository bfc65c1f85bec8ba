"""`python benchmarks/bulk.py IMAGES`: what indexing a million, a hundred million and a billion images takes.

Machines of one core each run `alexnet index add --shard`, are killed and started again, and their indexes are merged.
Rates come from the first runs; `simulate` says with them how long another run will take, one that loses a machine, and
is compared with it; then it says the same of clusters that aren't here. Writes docs/results/.
"""

from __future__ import annotations

import heapq
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import faiss
import numpy as np
import torch
import typer

from benchmarks.machine import commit, machine, write
from benchmarks.scale import held
from index.build import find_images

ALEXNET = [str(Path(sys.executable).parent / "alexnet"), "index"]
LISTED, CODES = 50_000, 8_000_000
"""Empty files, to see what a list of them costs; codes, to see what comparing them does."""
KILLED_AFTER, FOUND_AGAIN = 15.0, 5.0
"""Seconds after which a machine is killed here, and until it is started again."""
CLUSTERS = ((1_000_000, 1), (100_000_000, 16), (1_000_000_000, 64))
"""Images and machines, each of so many cores; a process dies so often, and is started again so late: assumptions."""
REPEATS = 3
CORES, DAYS_BETWEEN_DEATHS, FOUND_LATE = 16, 30, 600.0


@dataclass(frozen=True)
class Rates:
    """A core's, with all cores at work: images a second that are indexed; that are there already and only read; that
    one process merges. `started`, `merge_started`: seconds before the first. `listed`: seconds a file of the folder.
    `compared`: codes a second, all cores. `together`: images a second, indexed by one process that has all cores."""

    started: float
    indexed: float
    known: float
    merge_started: float
    merged: float
    listed: float
    list_bytes: float
    features_bytes: float
    catalog_bytes: float
    compared: float
    together: float


@dataclass(frozen=True)
class Plan:
    """Seconds until the last part is indexed; processes that died meanwhile."""

    indexing: float
    deaths: int


def simulate(sizes: Sequence[int], processes: int, rates: Rates, lives: Iterator[float], found: float) -> Plan:
    """Parts of so many images, each taken by the process that is free first.

    `lives`: seconds from each start of a process to its death; it is started again `found` seconds later, lists all
    files, reads what it has, and goes on.
    """
    free, last, deaths = [0.0] * processes, 0.0, 0
    start = rates.started + sum(sizes) * rates.listed
    for size in sizes:
        at, done = heapq.heappop(free), 0.0
        while True:
            before = start + done / rates.known
            needed, life = before + (size - done) / rates.indexed, next(lives)
            if life >= needed:
                break
            deaths, done = deaths + 1, done + max(0.0, life - before) * rates.indexed
            at += life + found
        heapq.heappush(free, at + needed)
        last = max(last, at + needed)
    return Plan(last, deaths)


def part(home: Path, shard: str) -> Path:
    """Where the index of a part is."""
    return home / shard.replace("/", "-of-")


class Machine:
    """A core of this machine, or several as `0,1`, with `alexnet` on it."""

    def __init__(self, core: str, options: list[str], home: Path) -> None:
        self.core, self.options, self.home = core, options, home

    def start(self, shard: str) -> subprocess.Popen[bytes]:
        words = [*ALEXNET, "add", *self.options, "--index", part(self.home, shard), "--shard", shard]
        pinned = ["taskset", "--cpu-list", self.core, *map(str, words)]
        return subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def index_all(machines: list[Machine], shards: list[str], kill: float | None = None) -> tuple[float, list[float]]:
    """Seconds of everything, and of each shard; the first process is killed after `kill` seconds, and started again."""
    begun, waiting = time.perf_counter(), list(enumerate(shards))
    taken = [0.0] * len(shards)
    with ThreadPoolExecutor(len(machines)) as pool:

        def work(one: Machine) -> None:
            while waiting:
                number, shard = waiting.pop(0)
                since = time.perf_counter()
                process = one.start(shard)
                try:
                    process.wait(kill if number == 0 else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    time.sleep(FOUND_AGAIN)
                    process = one.start(shard)
                if process.wait():
                    raise SystemExit(f"expected an index of part {shard}, found status {process.returncode}")
                taken[number] = time.perf_counter() - since

        list(pool.map(work, machines))
    return time.perf_counter() - begun, taken


def size(home: Path, shard: str) -> int:
    """Images in a part's index."""
    words = [*ALEXNET, "list", "--index", str(part(home, shard))]
    return len(subprocess.run(words, check=True, capture_output=True).stdout.splitlines())


def merge(home: Path, into: str, shards: list[str]) -> float:
    """Seconds of `alexnet index merge`."""
    words = [*ALEXNET, "merge", *(part(home, shard) for shard in shards), "--index", home / into]
    begun = time.perf_counter()
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return time.perf_counter() - begun


def listing() -> tuple[float, float]:
    """Seconds and bytes of memory a file that `alexnet index add` lists."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(LISTED):
            (Path(folder) / f"{number:012}.jpg").touch()
        before, begun = held(), time.perf_counter()
        sources = find_images(Path(folder))
        seconds = time.perf_counter() - begun
        return seconds / len(sources), 1e6 * (held() - before) / len(sources)


def compared() -> float:
    """Codes of 256 bits a second that a search compares, on all cores: what `index.codes` does, 10,000 to be kept."""
    codes = np.random.default_rng(0).integers(0, 256, (CODES, 32), dtype=np.uint8)
    halves = np.array_split(codes, len(os.sched_getaffinity(0)))
    times = []
    with ThreadPoolExecutor(len(halves)) as pool:
        for _ in range(2 * REPEATS):
            begun = time.perf_counter()
            list(pool.map(lambda some: faiss.knn_hamming(codes[:1], some, 10_000, variant="mc"), halves))
            times.append(time.perf_counter() - begun)
    return CODES / statistics.median(times)


def together(machines: list[Machine], home: Path, started: float, images: float) -> float:
    """Images a second of one process that has all cores."""
    everywhere = Machine(",".join(one.core for one in machines), machines[0].options, home / "together")
    seconds, _ = index_all([everywhere], ["1/1"])
    return images / (seconds - started)


def line(few: float, many: float, short: Sequence[float], long: Sequence[float]) -> tuple[float, float]:
    """Seconds before the first image and images a second, from the medians of two sizes."""
    quick, slow = statistics.median(short), statistics.median(long)
    rate = (many - few) / max(slow - quick, 1e-3)
    return quick - few / rate, rate


def measure(machines: list[Machine], home: Path) -> Rates:
    """Small parts against large ones: what is left after the difference is the start."""
    listed, list_bytes = listing()
    small, large = [f"{n}/64" for n in (1, 2)], ["1/2", "2/2"]
    first = [index_all(machines, shards)[1] for shards in (small, large)]
    few, many = (sum(size(home, shard) for shard in shards) / len(shards) for shards in (small, large))
    started, indexed = line(few, many, *first)
    again = [[index_all(machines, shards)[1] for _ in range(REPEATS)] for shards in (small, large)]
    merges = [[merge(home, f"merged-{shards[0][2:]}-{n}", shards) for n in range(REPEATS)] for shards in (small, large)]
    merge_started, merged = line(len(small) * few, len(large) * many, *merges)
    folders = [part(home, shard) for shard in large]
    features = sum(file.stat().st_size for folder in folders for file in folder.glob("features-*"))
    catalog = sum((folder / "catalog.sqlite").stat().st_size for folder in folders)
    return Rates(
        started=started,
        indexed=indexed,
        known=line(few, many, *([seconds for run in runs for seconds in run] for runs in again))[1],
        merge_started=merge_started,
        merged=merged,
        listed=listed,
        list_bytes=list_bytes,
        features_bytes=features / (2 * many),
        catalog_bytes=catalog / (2 * many),
        compared=compared(),
        together=together(machines, home, started, 2 * many),
    )


def check(machines: list[Machine], home: Path, rates: Rates) -> dict[str, Any]:
    """All images in six parts, one machine killed: seconds as they were, and as foretold."""
    shards = [f"{n}/6" for n in range(1, 7)]
    seconds, _ = index_all(machines, shards, KILLED_AFTER)
    merging = merge(home, "all", shards)
    sizes = [size(home, shard) for shard in shards]
    lives = chain([KILLED_AFTER], repeat(np.inf))
    told = simulate(sizes, len(machines), rates, lives, FOUND_AGAIN)
    return {
        "images": sum(sizes),
        "indexing": {"seconds": seconds, "foretold": told.indexing},
        "merging": {"seconds": merging, "foretold": rates.merge_started + sum(sizes) / rates.merged},
    }


def cluster(images: int, machines: int, rates: Rates, seed: int = 0) -> dict[str, Any]:
    """Hours and bytes of so many images; a process and a part a core, parts as unequal as a hash makes them."""
    generator = np.random.default_rng(seed)
    processes = machines * CORES
    sizes = generator.multinomial(images, np.full(processes, 1 / processes))
    every = DAYS_BETWEEN_DEATHS * 86400
    plan = simulate(
        sizes.tolist(), processes, rates, iter(lambda: float(generator.exponential(every)), None), FOUND_LATE
    )
    return {
        "images": images,
        "machines": machines,
        "processes": processes,
        "core_hours": images / rates.indexed / 3600,
        "hours": plan.indexing / 3600,
        "deaths": plan.deaths,
        "list_hours": images * rates.listed / 3600,
        "list_gb": images / processes * rates.list_bytes / 1e9,
        "merge_hours": images / rates.merged / 3600,
        "features_gb": images * rates.features_bytes / 1e9,
        "catalog_gb": images * rates.catalog_bytes / 1e9,
        "codes_gb": images * 32 / 1e9,
        "compare_seconds": images / rates.compared,
    }


def main(
    data: Annotated[str, typer.Argument(help="Some thousand images, as for `alexnet index add --data`.")],
    artifact: Annotated[Path, typer.Option(help="The network.")] = Path("artifacts"),
    precision: Annotated[str, typer.Option(help="float32 or int8.")] = "float32",
    output: Annotated[Path, typer.Option(help="Folder of the result.")] = ROOT / "docs" / "results",
) -> None:
    """Measure, compare the simulation with a run, simulate clusters, print and write a dated result."""
    options = ["--data", data, "--artifact", str(artifact), "--precision", precision]
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    with tempfile.TemporaryDirectory(dir=".") as home:
        rates = measure([Machine(core, options, Path(home)) for core in cores], Path(home))
    typer.echo(f"rates: {asdict(rates)}")
    with tempfile.TemporaryDirectory(dir=".") as home:
        checked = check([Machine(core, options, Path(home)) for core in cores], Path(home), rates)
    typer.echo(f"foretold and seen: {checked}")
    found = [cluster(images, count, rates) for images, count in CLUSTERS]
    for row in found:
        typer.echo(f"{row}")
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    assumed = {"cores": CORES, "days_between_deaths": DAYS_BETWEEN_DEATHS, "found_after_seconds": FOUND_LATE}
    result |= {"precision": precision, "rates": asdict(rates), "check": checked, "assumed": assumed, "clusters": found}
    typer.echo(f"written: {write(result, output, f'bulk-{precision}-cpu')}")


if __name__ == "__main__":
    typer.run(main)
