"""Measure time and space to index images in parallel on this machine, and project them for up to a billion images.

    python -m benchmarks.bulk_indexing DATA --artifact ARTIFACT

Each core of this machine stands for a machine that runs `alexnet index add --shard`; one is killed and restarted, and
the indexes are merged. A simulation with rates that are measured first predicts the duration of this run, is compared
with it, and is then applied to clusters.
"""

from __future__ import annotations

import heapq
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import typer

from alexnet.cli.options import PrecisionOption
from benchmarks.command import run_main
from benchmarks.memory import measure_private_memory
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from index.build import find_images

ALEXNET = [str(Path(sys.executable).parent / "alexnet"), "index"]
NUM_LISTED_FILES = 50_000
NUM_COMPARED_CODES = 8_000_000
REPEATS = 3
KILL_SECONDS = 15.0
"""Seconds until a machine is killed in the measured run."""
RESTART_SECONDS = 5.0
"""Seconds that the killed machine is down."""
CLUSTERS = ((1_000_000, 1), (100_000_000, 16), (1_000_000_000, 64))
"""Images and machines of the projected clusters."""
CLUSTER_CORES = 16
DAYS_BETWEEN_FAILURES = 30
"""Assumed mean time between failures of a process."""
CLUSTER_RESTART_SECONDS = 600.0
"""Assumed time until a failed process is restarted."""


@dataclass(frozen=True)
class Rates:
    """Rates measured while all cores work; `..._per_second` is in images per second and core unless stated otherwise.

    `startup_seconds`, `merge_startup_seconds`: before the first image. `existing_per_second`: images already in the
    index, whose files are only read. `merged_per_second`: of one merging process. `seconds_per_file`, `bytes_per_file`:
    to list the folder. `features_bytes`, `catalog_bytes`: per image. `codes_compared_per_second`: codes, by all cores.
    `one_process_per_second`: images per second of one process with all cores.
    """

    startup_seconds: float
    indexed_per_second: float
    existing_per_second: float
    merge_startup_seconds: float
    merged_per_second: float
    seconds_per_file: float
    bytes_per_file: float
    features_bytes: float
    catalog_bytes: float
    codes_compared_per_second: float
    one_process_per_second: float


@dataclass(frozen=True)
class Simulation:
    """Seconds until the last shard is indexed, and failures of processes until then."""

    seconds: float
    failures: int


def simulate(
    sizes: Sequence[int], processes: int, rates: Rates, lifetimes: Iterator[float], restart_seconds: float
) -> Simulation:
    """Simulate indexing shards of `sizes` images; the next shard goes to the process that is free first.

    `lifetimes`: seconds from each start of a process to its failure; the process is restarted `restart_seconds` later,
    lists all files, reads the images that it has already indexed, and resumes.
    """
    free_at, end, failures = [0.0] * processes, 0.0, 0
    startup = rates.startup_seconds + sum(sizes) * rates.seconds_per_file
    for size in sizes:
        start, num_indexed = heapq.heappop(free_at), 0.0
        while True:
            resume_seconds = startup + num_indexed / rates.existing_per_second
            duration, lifetime = resume_seconds + (size - num_indexed) / rates.indexed_per_second, next(lifetimes)
            if lifetime >= duration:
                break
            failures += 1
            num_indexed += max(0.0, lifetime - resume_seconds) * rates.indexed_per_second
            start += lifetime + restart_seconds
        heapq.heappush(free_at, start + duration)
        end = max(end, start + duration)
    return Simulation(end, failures)


def shard_path(home: Path, shard: str) -> Path:
    """The index of a shard."""
    return home / shard.replace("/", "-of-")


class Machine:
    """Cores of this machine, such as `0` or `0,1`, on which `alexnet index add` runs with `options`."""

    def __init__(self, cores: str, options: list[str], home: Path) -> None:
        self.cores, self.options, self.home = cores, options, home
        self.log = home / f"errors-{cores}.txt"

    def start(self, shard: str) -> subprocess.Popen[bytes]:
        """Start indexing a shard."""
        command = [*ALEXNET, "add", *self.options, "--index", shard_path(self.home, shard), "--shard", shard]
        pinned = ["taskset", "--cpu-list", self.cores, *map(str, command)]
        with self.log.open("wb") as log:
            return subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=log)


def index_shards(
    machines: list[Machine], shards: list[str], kill_seconds: float | None = None
) -> tuple[float, list[float]]:
    """Index shards on all machines. Returns the seconds of the whole, and of each shard.

    The process of the first shard is killed after `kill_seconds`, and restarted.
    """
    begin, queue = time.perf_counter(), deque(enumerate(shards))
    durations = [0.0] * len(shards)
    with ThreadPoolExecutor(len(machines)) as pool:

        def index_from_queue(machine: Machine) -> None:
            while True:
                try:
                    number, shard = queue.popleft()
                except IndexError:
                    return
                start = time.perf_counter()
                process = machine.start(shard)
                try:
                    process.wait(kill_seconds if number == 0 else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    time.sleep(RESTART_SECONDS)
                    process = machine.start(shard)
                if process.wait():
                    raise SystemExit(f"indexing shard {shard} failed:\n{machine.log.read_text()[-2000:]}")
                durations[number] = time.perf_counter() - start

        list(pool.map(index_from_queue, machines))
    return time.perf_counter() - begin, durations


def count_images(home: Path, shard: str) -> int:
    """Images in the index of a shard."""
    command = [*ALEXNET, "list", "--index", str(shard_path(home, shard))]
    return len(subprocess.run(command, check=True, capture_output=True).stdout.splitlines())


def time_merge(home: Path, name: str, shards: list[str]) -> float:
    """Seconds of `alexnet index merge` into a new index."""
    command = [*ALEXNET, "merge", *(shard_path(home, shard) for shard in shards), "--index", home / name]
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return time.perf_counter() - start


def measure_listing() -> tuple[float, float]:
    """Seconds and bytes of memory per file to list a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(NUM_LISTED_FILES):
            (Path(folder) / f"{number:012}.jpg").touch()
        before, start = measure_private_memory(), time.perf_counter()
        sources = find_images(Path(folder))
        seconds = time.perf_counter() - start
        return seconds / len(sources), 1e6 * (measure_private_memory() - before) / len(sources)


def measure_code_rate() -> float:
    """256-bit codes per second that a search compares on all cores, as `index.codes` does, keeping 10,000."""
    codes = np.random.default_rng(0).integers(0, 256, (NUM_COMPARED_CODES, 32), dtype=np.uint8)
    parts = np.array_split(codes, len(os.sched_getaffinity(0)))
    times = []
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(2 * REPEATS):
            start = time.perf_counter()
            list(pool.map(lambda part: faiss.knn_hamming(codes[:1], part, 10_000, variant="mc"), parts))
            times.append(time.perf_counter() - start)
    return NUM_COMPARED_CODES / statistics.median(times)


def measure_one_process(machines: list[Machine], home: Path, startup: float, images: float) -> float:
    """Images per second of one process that has all cores."""
    all_cores = Machine(",".join(machine.cores for machine in machines), machines[0].options, home / "one-process")
    seconds, _ = index_shards([all_cores], ["1/1"])
    return images / (seconds - startup)


def fit_rate(few: float, many: float, few_times: Sequence[float], many_times: Sequence[float]) -> tuple[float, float]:
    """Seconds before the first image, and images per second, from the median durations for `few` and `many` images."""
    few_seconds, many_seconds = statistics.median(few_times), statistics.median(many_times)
    if many_seconds <= few_seconds:
        raise SystemExit(f"{many:,.0f} images took no longer than {few:,.0f}: choose DATA with more images")
    rate = (many - few) / (many_seconds - few_seconds)
    return few_seconds - few / rate, rate


def measure(machines: list[Machine], home: Path) -> Rates:
    """Measure all rates from the durations of small and large shards, whose difference excludes the startup."""
    seconds_per_file, bytes_per_file = measure_listing()
    small, large = [f"{n}/64" for n in (1, 2)], ["1/2", "2/2"]
    first = [index_shards(machines, shards)[1] for shards in (small, large)]
    few, many = (sum(count_images(home, shard) for shard in shards) / len(shards) for shards in (small, large))
    startup, indexed = fit_rate(few, many, *first)
    again = [[index_shards(machines, shards)[1] for _ in range(REPEATS)] for shards in (small, large)]
    merges = [
        [time_merge(home, f"merged-{shards[0][2:]}-{n}", shards) for n in range(REPEATS)] for shards in (small, large)
    ]
    merge_startup, merged = fit_rate(len(small) * few, len(large) * many, *merges)
    folders = [shard_path(home, shard) for shard in large]
    features = sum(file.stat().st_size for folder in folders for file in folder.glob("features-*"))
    catalog = sum((folder / "catalog.sqlite").stat().st_size for folder in folders)
    return Rates(
        startup_seconds=startup,
        indexed_per_second=indexed,
        existing_per_second=fit_rate(few, many, *([seconds for run in runs for seconds in run] for runs in again))[1],
        merge_startup_seconds=merge_startup,
        merged_per_second=merged,
        seconds_per_file=seconds_per_file,
        bytes_per_file=bytes_per_file,
        features_bytes=features / (2 * many),
        catalog_bytes=catalog / (2 * many),
        codes_compared_per_second=measure_code_rate(),
        one_process_per_second=measure_one_process(machines, home, startup, 2 * many),
    )


def check_simulation(machines: list[Machine], home: Path, rates: Rates) -> dict[str, Any]:
    """Index all images in six shards, killing one machine. Returns measured and predicted seconds.

    Raises SystemExit if the first shard is finished before its process is killed.
    """
    shards = [f"{n}/6" for n in range(1, 7)]
    seconds, durations = index_shards(machines, shards, KILL_SECONDS)
    if durations[0] < KILL_SECONDS:
        raise SystemExit(
            f"a sixth of the images took {durations[0]:.1f} s, too short to kill a machine: choose more images"
        )
    merge_seconds = time_merge(home, "all", shards)
    sizes = [count_images(home, shard) for shard in shards]
    lifetimes = chain([KILL_SECONDS], repeat(np.inf))
    predicted = simulate(sizes, len(machines), rates, lifetimes, RESTART_SECONDS)
    return {
        "images": sum(sizes),
        "indexing": {"measured": seconds, "predicted": predicted.seconds},
        "merging": {
            "measured": merge_seconds,
            "predicted": rates.merge_startup_seconds + sum(sizes) / rates.merged_per_second,
        },
    }


def project_cluster(images: int, machines: int, rates: Rates) -> dict[str, Any]:
    """Hours and bytes to index `images`: one process and shard per core, shards as unequal as a hash makes them."""
    generator = np.random.default_rng(0)
    processes = machines * CLUSTER_CORES
    sizes = generator.multinomial(images, np.full(processes, 1 / processes))
    lifetimes = iter(lambda: float(generator.exponential(DAYS_BETWEEN_FAILURES * 86400)), None)
    simulation = simulate(sizes.tolist(), processes, rates, lifetimes, CLUSTER_RESTART_SECONDS)
    return {
        "images": images,
        "machines": machines,
        "processes": processes,
        "computing_core_hours": images / rates.indexed_per_second / 3600,
        "hours": simulation.seconds / 3600,
        "failures": simulation.failures,
        "listing_hours": images * rates.seconds_per_file / 3600,
        "listing_gb_per_process": images / processes * rates.bytes_per_file / 1e9,
        "merging_hours": images / rates.merged_per_second / 3600,
        "features_gb": images * rates.features_bytes / 1e9,
        "catalog_gb": images * rates.catalog_bytes / 1e9,
        "codes_gb": images * 32 / 1e9,
        "compare_codes_seconds": images / rates.codes_compared_per_second,
    }


def main(
    data: Annotated[str, typer.Argument(help="A few thousand images, as for `alexnet index add --data`.")],
    artifact: Annotated[Path, typer.Option(help="Artifact, or a folder of artifacts.")] = Path("artifacts"),
    precision: PrecisionOption = "float32",
    output: OutputOption = RESULTS,
) -> None:
    """Measure, compare the simulation with a run, project clusters, print and write a dated result."""
    options = ["--data", data, "--artifact", str(artifact), "--precision", precision]
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    with tempfile.TemporaryDirectory(dir=".") as home:
        rates = measure([Machine(core, options, Path(home)) for core in cores], Path(home))
    typer.echo(format_table({name: {"": value} for name, value in asdict(rates).items()}))
    with tempfile.TemporaryDirectory(dir=".") as home:
        check = check_simulation([Machine(core, options, Path(home)) for core in cores], Path(home), rates)
    typer.echo(format_table({"indexing": check["indexing"], "merging": check["merging"]}, "seconds"))
    clusters = [project_cluster(images, machines, rates) for images, machines in CLUSTERS]
    typer.echo(format_table({f"{cluster['images']:,} images": cluster for cluster in clusters}))
    result = {
        "precision": precision,
        "rates": asdict(rates),
        "check": check,
        "assumptions": {
            "cores": CLUSTER_CORES,
            "days_between_failures": DAYS_BETWEEN_FAILURES,
            "restart_seconds": CLUSTER_RESTART_SECONDS,
        },
        "clusters": clusters,
    }
    write_result(output, f"bulk-indexing-{precision}-cpu", result)


if __name__ == "__main__":
    run_main(main)
