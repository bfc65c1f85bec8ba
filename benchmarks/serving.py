"""Measure the server's throughput, latency and memory for ten-crop classification over HTTP, against other servers.

    python -m benchmarks.serving --artifact ARTIFACT --data grocery

All servers use the same decoder, weights and cores; while one is measured, the others are stopped. Throughput is
measured in turns with four clients, and a ratio is the median of the ratios within a turn. Then our server alone gets
an open loop below, at and above its peak.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from alexnet.cli.options import ArchiveOption, DataOption
from benchmarks.command import run_main
from benchmarks.load_generator import (
    DEADLINE,
    count_statuses,
    measure_peak,
    read_images,
    response_rate,
    run_closed_loop,
    run_open_loop,
    success_latencies,
)
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.servers import Server, start_server
from benchmarks.timing import median_ratio, summarize_latencies, time_call
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.images.contract import IMAGE_SIZE
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel

NUM_IMAGES = 100
NUM_COMPARED_IMAGES = 50
MAX_DIFFERENCE = 1e-4
"""If the probabilities of two servers differ by more, comparing their speed is meaningless."""
PAUSE = 0.05
LOAD_FRACTIONS = (0.1, 0.5, 0.8, 1.0, 1.5)


def server_commands(artifact: Artifact) -> dict[str, list[str]]:
    """Each server's arguments for Python; `{port}` stands for the port. int8 is included if the artifact has it."""
    ours = ["-m", "alexnet", "serve", "--artifact", str(artifact.path), "--port", "{port}"]
    network = ["--network", str(artifact.network_path), "--contract", artifact.image_contract.name, "--port", "{port}"]
    fastapi = ["-m", "benchmarks.baselines.fastapi_server", *network, "--runtime"]
    commands = {"ours": ours}
    if artifacts.NETWORK_FILES["int8"] in artifact.manifest.files:
        commands["ours, int8"] = [*ours, "--precision", "int8"]
    return commands | {
        "FastAPI, onnxruntime": [*fastapi, "onnxruntime"],
        "LitServe, onnxruntime": ["-m", "benchmarks.baselines.litserve_server", *network],
        "FastAPI, torch": [*fastapi, "torch"],
    }


def measure_throughput(
    servers: dict[str, Server], images: Sequence[bytes], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Responses per second, CPU time per response and memory of every server, in turns after a warm-up round.

    Raises SystemExit if a server ends or refuses a request.
    """
    rates: dict[str, list[float]] = {name: [] for name in servers}
    cpu_times: dict[str, list[float]] = {name: [] for name in servers}
    for round_number in range(rounds + 1):
        for name, server in servers.items():
            with server.running():
                before = server.cpu_seconds
                samples = asyncio.run(run_closed_loop(server.url, images, seconds))
                used = server.cpu_seconds - before
            statuses = count_statuses(samples)
            if statuses.keys() != {"200"}:
                raise SystemExit(f"{name} didn't answer all requests, so its speed means nothing: {statuses}")
            if round_number:
                rates[name].append(response_rate(samples, seconds))
                cpu_times[name].append(1000 * used / len(samples))
        typer.echo(f"round {round_number}: " + ", ".join(f"{n} {r[-1]:.2f}/s" for n, r in rates.items() if r))
    return {
        name: {
            "images_per_second": statistics.median(rates[name]),
            "cpu_ms": statistics.median(cpu_times[name]),
            "relative_to_fastapi": median_ratio(rates[name], rates["FastAPI, onnxruntime"]),
            "memory_mb": server.memory / 1e6,
        }
        for name, server in servers.items()
    }


def largest_difference(ours: Server, other: Server, images: Sequence[bytes]) -> float:
    """Largest difference in the probability of any class that the other server returns; LitServe returns five."""

    def request_probabilities(url: str, image: bytes) -> dict[int, float]:
        predictions = httpx2.post(url, files={"image": image}).json()["predictions"]
        return {prediction["index"]: prediction["probability"] for prediction in predictions}

    largest = 0.0
    with ours.running(), other.running():
        for image in images:
            a = request_probabilities(f"{ours.url}?top=1000", image)
            b = request_probabilities(f"{other.url}?count=1000", image)
            largest = max(largest, *(abs(a[label] - probability) for label, probability in b.items()))
    return largest


def measure_overhead(server: Server, model: OnnxModel, images: Sequence[bytes]) -> dict[str, float]:
    """Median milliseconds of a single request and of the network alone on the same image, measured in turns.

    Uses Python's own HTTP client, because httpx adds two milliseconds.
    """
    address = urlsplit(server.url)
    client = http.client.HTTPConnection(address.netloc)

    def send(image: bytes) -> None:
        client.request("POST", address.path, image)
        assert len(client.getresponse().read()) > 0

    def run_network(pixels: NDArray[np.uint8]) -> None:
        model.run(pixels[None], TEN_CROP)

    def time_after_pause(call: Callable[[], object]) -> float:
        time.sleep(PAUSE)
        return 1000 * time_call(call)

    pairs = []
    with server.running():
        for image in images:
            pixels = decode_image(image).pixels
            network = time_after_pause(partial(run_network, pixels))
            pairs.append((network, time_after_pause(partial(send, image))))
    return {
        "network_ms": statistics.median(network for network, _ in pairs),
        "request_ms": statistics.median(request for _, request in pairs),
        "overhead_ms": statistics.median(request - network for network, request in pairs),
    }


def measure_under_load(
    server: Server, images: Sequence[bytes], seconds: float, fractions: Sequence[float] = LOAD_FRACTIONS
) -> list[dict[str, Any]]:
    """Run open loops at fractions of the peak measured just before: latency, goodput within the deadline, statuses."""
    rows = []
    for fraction in fractions:
        with server.running():
            peak = measure_peak(server.url, images, seconds / 2)
            samples = asyncio.run(run_open_loop(server.url, images, fraction * peak, seconds))
        rows.append(
            {
                "fraction_of_peak": fraction,
                "peak_per_second": peak,
                "offered_per_second": len(samples) / seconds,
                "goodput_per_second": response_rate(samples, seconds, DEADLINE),
                "latency_ms": summarize_latencies(success_latencies(samples)),
                "generator_delay_ms": summarize_latencies([1000 * (s.sent - s.due) for s in samples]),
                "statuses": count_statuses(samples),
            }
        )
        typer.echo(f"open loop at {fraction:g} of the peak: {rows[-1]}")
    return rows


def decode_at_full_scale(image: bytes) -> NDArray[np.uint8]:
    """The 256 x 256 center square of a landscape JPEG, decoded at full size before resizing."""
    with Image.open(io.BytesIO(image)) as opened:
        resized = IMAGE_SIZE * opened.width // opened.height
        start = (resized - IMAGE_SIZE) // 2
        box = (start * opened.width / resized, 0, (start + IMAGE_SIZE) * opened.width / resized, opened.height)
        return np.asarray(opened.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR, box=box))


def measure_decoding(model: OnnxModel, images: Sequence[bytes]) -> dict[str, float]:
    """CPU milliseconds to decode a 12-megapixel JPEG, reduced and at full scale, and the fraction of equal top-5.

    Both use the default contract, whatever detail the network asks for: it only serves to compare the pixels.
    """

    def decode_and_time(decode: Callable[[bytes], NDArray[np.uint8]], image: bytes) -> tuple[float, NDArray[np.uint8]]:
        start = time.process_time()
        pixels = decode(image)
        return 1000 * (time.process_time() - start), pixels

    def top5(pixels: NDArray[np.uint8]) -> list[int]:
        order: list[int] = np.argsort(-model.run(pixels[None], TEN_CROP)[0][0], kind="stable").tolist()
        return order[:5]

    reduced_times, full_times, num_equal = [], [], 0
    for image in images:
        reduced_ms, reduced = decode_and_time(lambda data: decode_image(data).pixels, image)
        full_ms, full = decode_and_time(decode_at_full_scale, image)
        reduced_times.append(reduced_ms)
        full_times.append(full_ms)
        num_equal += top5(reduced) == top5(full)
    return {
        "reduced_cpu_ms": statistics.median(reduced_times),
        "full_cpu_ms": statistics.median(full_times),
        "equal_top5": num_equal / len(images),
    }


def main(
    artifact: Annotated[Path, typer.Option(help="Full-size artifact; its int8 network, if any, is measured, too.")],
    data: DataOption = "grocery",
    archive: ArchiveOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds over all servers.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=3, help="Seconds per server turn; an open loop takes three times as long.")
    ] = 8,
    output: OutputOption = RESULTS,
) -> None:
    """Measure all servers, then ours under load; print and write a dated result."""
    loaded = artifacts.load(artifact)
    images = read_images(data, archive, NUM_IMAGES)
    if len(images) < 10:
        raise SystemExit(f"{len(images)} test images are too few: choose --data with ten or more")
    model = OnnxModel(loaded.network_path, "cpu")
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(start_server(command, images[0]))
            for name, command in server_commands(loaded).items()
        }
        ours = servers["ours"]
        differences = {
            name: largest_difference(ours, server, images[:NUM_COMPARED_IMAGES])
            for name, server in servers.items()
            if not name.startswith("ours")
        }
        difference = max(differences.values())
        if difference > MAX_DIFFERENCE:
            raise SystemExit(f"the servers compute different results: probabilities differ by {differences}")
        throughput = measure_throughput(servers, images, rounds, seconds)
        small_images = [image for number, image in enumerate(images[:NUM_COMPARED_IMAGES]) if number % 10 != 9]
        overhead = measure_overhead(ours, model, small_images)
        loads = measure_under_load(ours, images, 3 * seconds)
    result = {
        "artifact": loaded.manifest.name,
        "measurements": [measurement.model_dump() for measurement in loaded.manifest.measurements],
        "largest_difference": difference,
        "throughput": throughput,
        "single_request": overhead,
        "open_loop": loads,
        "decoding_12_megapixels": measure_decoding(model, images[9::10]),
    }
    typer.echo(format_table(throughput))
    for key in ("largest_difference", "single_request", "decoding_12_megapixels"):
        typer.echo(f"{key}: {result[key]}")
    write_result(output, "serving-cpu", result)


if __name__ == "__main__":
    run_main(main)
