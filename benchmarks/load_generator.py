"""Generate load: a closed loop for a server's peak throughput, an open loop for the latency that its users see.

In an open loop, requests are sent at random times drawn beforehand (Poisson), whether or not earlier requests have a
response, and latency counts from the drawn time. A generator that waits for responses would omit exactly the requests
that a slow server would have kept waiting (coordinated omission).
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from training.data.loading import load_dataset

CLIENT_TIMEOUT = 60.0
NUM_CLIENTS = 4
"""Clients of a closed loop."""
DEADLINE = 2.0
"""Seconds, for each request of an open loop."""
PHONE_SIZE = (4000, 3000)


@dataclass(frozen=True)
class Sample:
    """A request: when it was due, sent and done, in seconds from the start. Status 0: no response."""

    due: float
    sent: float
    done: float
    status: int

    @property
    def latency(self) -> float:
        """Seconds from when the request was due until it was done."""
        return self.done - self.due


def read_images(data: str, archive: Path | None, count: int) -> list[bytes]:
    """At most `count` image files of the test split in random order; every tenth is enlarged to 12 megapixels."""
    test = load_dataset(data, archive=archive).test
    examples = [test[i] for i in np.random.default_rng(0).permutation(len(test))[:count]]
    return enlarge_some([example.path.read_bytes() for example in examples])


def enlarge_some(files: Sequence[bytes]) -> list[bytes]:
    """The image files, with every tenth enlarged to a phone's 12 megapixels."""
    return [enlarge(file) if number % 10 == 9 else file for number, file in enumerate(files)]


def enlarge(file: bytes) -> bytes:
    """An image as a 4000 x 3000 JPEG."""
    with Image.open(io.BytesIO(file)) as opened:
        buffer = io.BytesIO()
        opened.convert("RGB").resize(PHONE_SIZE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


async def run_closed_loop(url: str, images: Sequence[bytes], seconds: float) -> list[Sample]:
    """Samples of four clients, each of which sends the next image as soon as it has a response."""
    start, samples, bodies = time.perf_counter(), list[Sample](), cycle(images)

    async def run_client() -> None:
        while (due := time.perf_counter() - start) < seconds:
            samples.append(await _send(client, url, next(bodies), due, start, {}))

    async with _create_client() as client:
        await asyncio.gather(*[run_client() for _ in range(NUM_CLIENTS)])
    return samples


async def run_open_loop(url: str, images: Sequence[bytes], rate: float, seconds: float) -> list[Sample]:
    """Samples of requests at a mean `rate` per second for `seconds`, each with the header X-Request-Timeout."""
    generator = np.random.default_rng(1)
    times = np.cumsum(generator.exponential(1 / rate, int(2 * rate * seconds) + 10))
    order = generator.integers(len(images), size=len(times))
    headers = {"X-Request-Timeout": f"{DEADLINE:g}"}
    start = time.perf_counter()
    async with _create_client() as client, asyncio.TaskGroup() as group:
        tasks = []
        for due, number in zip(times[times < seconds], order, strict=False):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            request = _send(client, url, images[number], float(due), start, headers)
            tasks.append(group.create_task(request))
    return [task.result() for task in tasks]


def measure_peak(url: str, images: Sequence[bytes], seconds: float) -> float:
    """Responses per second in a closed loop."""
    return response_rate(asyncio.run(run_closed_loop(url, images, seconds)), seconds)


def _create_client() -> httpx2.AsyncClient:
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx2.AsyncClient(timeout=CLIENT_TIMEOUT, limits=unlimited)


async def _send(
    client: httpx2.AsyncClient, url: str, image: bytes, due: float, start: float, headers: dict[str, str]
) -> Sample:
    sent = time.perf_counter() - start
    try:
        response = await client.post(url, files={"image": ("image.jpg", image)}, headers=headers)
        status = response.status_code
    except httpx2.HTTPError:
        status = 0
    return Sample(due, sent, time.perf_counter() - start, status)


def response_rate(samples: Sequence[Sample], seconds: float, deadline: float = CLIENT_TIMEOUT) -> float:
    """Successful responses per second within `deadline`; the first two seconds are a warm-up and don't count."""
    good = [s for s in samples if s.status == 200 and s.latency <= deadline and 2 <= s.done < seconds]
    return len(good) / (seconds - 2)


def count_statuses(samples: Sequence[Sample]) -> dict[str, int]:
    """Number of responses by HTTP status; 0: no response."""
    counts = Counter(sample.status for sample in samples)
    return {str(status): counts[status] for status in sorted(counts)}


def success_latencies(samples: Sequence[Sample]) -> list[float]:
    """Latencies of the successful requests in milliseconds."""
    return [1000 * sample.latency for sample in samples if sample.status == 200]
