"""`python -m benchmarks.serving`: ten-crop classification over HTTP, beside what others would write for it.

All servers decode alike and have the same weights and cores; those that aren't measured are stopped. Throughput is
measured in turns with four clients, and a ratio is the median of the ratios of the same turn. Then our server alone: an
open loop below, at and above its peak. Writes docs/results/.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.load_generator import closed_loop, open_loop, percentiles, rate_of
from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from benchmarks.servers import Server, start_server
from model.artifacts import artifact as artifacts
from model.images.contract import IMAGE_SIZE
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from training.data.loading import load_dataset

CLIENTS = 4
DEADLINE = 2.0
LOAD_FRACTIONS = (0.1, 0.5, 0.8, 1.0, 1.5)
PHONE = (4000, 3000)


def mix(data: str, archive: Path | None, count: int) -> list[bytes]:
    """JPEGs as they come: of the test part, nine in ten as they are, the tenth enlarged to a phone's 12 megapixels."""
    test = load_dataset(data, archive=archive).test
    options = [test[i] for i in np.random.default_rng(0).permutation(len(test))[:count]]
    files = [example.path.read_bytes() for example in options]
    return [enlarge(file) if number % 10 == 9 else file for number, file in enumerate(files)]


def enlarge(file: bytes) -> bytes:
    """An image as a JPEG of 4000 x 3000."""
    with Image.open(io.BytesIO(file)) as opened:
        buffer = io.BytesIO()
        opened.convert("RGB").resize(PHONE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def throughput(servers: dict[str, Server], images: Sequence[bytes], turns: int, seconds: float) -> dict[str, Any]:
    """Responses per second and CPU seconds per response of every server, in turns after a warm-up turn."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(turns + 1):
        for name, server in servers.items():
            with server.running():
                before = server.cpu_seconds
                samples = asyncio.run(closed_loop(server.url, images, CLIENTS, seconds))
                spent = server.cpu_seconds - before
            if turn:
                rates[name].append(rate_of(samples, seconds))
                costs[name].append(spent / len(samples))
        typer.echo(f"turn {turn}: " + ", ".join(f"{n} {r[-1]:.2f}/s" for n, r in rates.items() if r))
    return {
        name: {
            "images_per_second": statistics.median(rates[name]),
            "cpu_ms": 1000 * statistics.median(costs[name]),
            "times_plain": statistics.median(a / b for a, b in zip(rates[name], rates["plain"], strict=True)),
            "memory_mb": server.memory / 1e6,
        }
        for name, server in servers.items()
    }


def largest_difference(ours: Server, theirs: Server, images: Sequence[bytes]) -> float:
    """Largest difference of a probability of any class."""
    worst = 0.0
    with ours.running(), theirs.running():
        for image in images:
            measured = [
                {p["index"]: p["probability"] for p in httpx2.post(url, files={"image": image}).json()["predictions"]}
                for url in (f"{ours.url}?top=1000", f"{theirs.url}?count=1000")
            ]
            worst = max(worst, max(abs(measured[0][label] - measured[1][label]) for label in measured[0]))
    return worst


def added_latency(server: Server, model: OnnxModel, images: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of a single request, and of the network alone on the same image; medians, in turns.

    With Python's own HTTP client: the others add two milliseconds of their own.
    """
    bare: list[float] = []
    whole: list[float] = []
    address = urlsplit(server.url)
    client = http.client.HTTPConnection(address.netloc)

    def ask(image: bytes) -> None:
        client.request("POST", address.path, image)
        assert len(client.getresponse().read()) > 0

    with server.running():
        for image in images:
            pixels = decode_image(image).pixels[None]
            for times, work in (
                (bare, lambda pixels=pixels: model.run(pixels, TEN_CROP)),
                (whole, lambda image=image: ask(image)),
            ):
                time.sleep(0.05)
                begun = time.perf_counter()
                work()
                times.append(1000 * (time.perf_counter() - begun))
    return {
        "network_ms": statistics.median(bare),
        "request_ms": statistics.median(whole),
        "added_ms": statistics.median(b - a for a, b in zip(bare, whole, strict=True)),
    }


def under_load(server: Server, images: Sequence[bytes], seconds: float) -> list[dict[str, Any]]:
    """Open loop at fractions of the peak measured just before: latency, goodput within the deadline, statuses."""
    rows = []
    for share in LOAD_FRACTIONS:
        with server.running():
            peak = rate_of(asyncio.run(closed_loop(server.url, images, CLIENTS, seconds / 2)), seconds / 2)
            samples = asyncio.run(open_loop(server.url, images, share * peak, seconds, 1, DEADLINE))
        statuses = [sample.status for sample in samples]
        rows.append(
            {
                "share_of_peak": share,
                "peak_per_second": peak,
                "offered_per_second": len(samples) / seconds,
                "goodput_per_second": rate_of(samples, seconds, DEADLINE),
                "latency_ms": percentiles([s.latency for s in samples if s.status == 200]),
                "generator_late_ms": percentiles([s.sent - s.due for s in samples]),
                "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
            }
        )
        typer.echo(f"open loop at {share:g} of the peak: {rows[-1]}")
    return rows


def decoding(model: OnnxModel, images: Sequence[bytes]) -> dict[str, float]:
    """CPU milliseconds to read a 12-megapixel JPEG, by us and at full scale, and how often the top five are equal."""
    ours, full, equal = [], [], 0
    for image in images:
        begun = time.process_time()
        pixels = decode_image(image).pixels
        ours.append(1000 * (time.process_time() - begun))
        begun = time.process_time()
        with Image.open(io.BytesIO(image)) as opened:
            resized = IMAGE_SIZE * opened.width // opened.height  # landscape
            start = (resized - IMAGE_SIZE) // 2
            box = (start * opened.width / resized, 0, (start + IMAGE_SIZE) * opened.width / resized, opened.height)
            whole = np.asarray(opened.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR, box=box))
        full.append(1000 * (time.process_time() - begun))
        best = [np.argsort(-model.run(p[None], TEN_CROP)[0][0], kind="stable")[:5].tolist() for p in (pixels, whole)]
        equal += best[0] == best[1]
    return {
        "ours_cpu_ms": statistics.median(ours),
        "full_cpu_ms": statistics.median(full),
        "equal_top5": equal / len(images),
    }


def main(
    artifact: Annotated[Path, typer.Option(help="A full-size artifact; with int8, that is measured, too.")],
    data: Annotated[str, typer.Option(help="Whose test images are sent.")] = "grocery",
    archive: Annotated[Path | None, typer.Option(help="The zip file of the data set.")] = None,
    turns: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of a turn; an open loop takes three times as long.")] = 8.0,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    options = artifacts.load(artifact)
    images = mix(data, archive, 100)
    network, ours = (
        ["--network", str(options.network), "--port", "{port}"],
        ["-m", "alexnet", "serve", "--artifact", str(options.path)],
    )
    plain = ["-m", "benchmarks.baselines.fastapi_server", *network, "--runtime"]
    commands = {
        "ours": [*ours, "--port", "{port}"],
        "ours, int8": [*ours, "--port", "{port}", "--precision", "int8"],
        "plain": [*plain, "onnxruntime"],
        "LitServe": ["-m", "benchmarks.baselines.litserve_server", *network],
        "torch eager": [*plain, "torch"],
    }
    if artifacts.NETWORK_FILES["int8"] not in options.manifest.files:
        del commands["ours, int8"]
    model = OnnxModel(options.network, "cpu")
    with ExitStack() as stack:
        servers = {n: stack.enter_context(start_server(command, images[0])) for n, command in commands.items()}
        difference = largest_difference(servers["ours"], servers["plain"], images[:50])
        typer.echo(f"largest difference of a probability from the plain server's: {difference:.2g}")
        speeds = throughput(servers, images, turns, seconds)
        lone = added_latency(servers["ours"], model, [p for i, p in enumerate(images[:50]) if i % 10 != 9])
        loads = under_load(servers["ours"], images, 3 * seconds)
    result = {
        "date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu")),
        "artifact": options.manifest.name,
        "measurements": [m.model_dump() for m in options.manifest.measurements],
        "largest_difference": difference, "throughput": speeds, "lone_request": lone, "open_loop": loads,
        "decoding_12_megapixels": decoding(model, images[9::10]),
    }  # fmt: skip
    for key in ("throughput", "lone_request", "decoding_12_megapixels"):
        typer.echo(f"{key}: {result[key]}")
    typer.echo(f"written: {write(result, output, 'serving-cpu')}")


if __name__ == "__main__":
    typer.run(main)
