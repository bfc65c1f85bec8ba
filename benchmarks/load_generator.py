"""Load generators: closed loop for a server's peak throughput, open loop for the latency that its users see.

Open loop: requests are sent at random times drawn beforehand (Poisson), whether or not earlier ones have a response,
and latency counts from the drawn time. A generator that waits for responses would leave out just the requests that a
slow server would have kept waiting (coordinated omission).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
import numpy as np

CLIENT_TIMEOUT = 60.0


@dataclass(frozen=True)
class Sample:
    """Times of a request in seconds from the start: when it was due, was sent, and was done. Status 0: no response."""

    due: float
    sent: float
    done: float
    status: int

    @property
    def latency(self) -> float:
        return self.done - self.due


async def closed_loop(url: str, images: Sequence[bytes], workers: int, seconds: float) -> list[Sample]:
    """Samples of `workers` clients that each send the next image as soon as they have a response."""
    start, samples, turn = time.perf_counter(), list[Sample](), iter(range(10**9))

    async def client() -> None:
        while (due := time.perf_counter() - start) < seconds:
            samples.append(await _send(session, url, images[next(turn) % len(images)], due, start, {}))

    async with _session() as session:
        await asyncio.gather(*[client() for _ in range(workers)])
    return samples


async def open_loop(
    url: str, images: Sequence[bytes], rate: float, seconds: float, seed: int, timeout: float | None = None
) -> list[Sample]:
    """Samples of `rate` requests per second on average, for `seconds`. `timeout`: sent as X-Request-Timeout."""
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.exponential(1 / rate, int(2 * rate * seconds) + 10))
    order = generator.integers(len(images), size=len(times))
    headers = {} if timeout is None else {"X-Request-Timeout": f"{timeout:g}"}
    start = time.perf_counter()
    async with _session() as session, asyncio.TaskGroup() as group:
        tasks = []
        for due, number in zip(times[times < seconds], order, strict=False):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            work = _send(session, url, images[number], float(due), start, headers)
            tasks.append(group.create_task(work))
    return [task.result() for task in tasks]


def _session() -> httpx2.AsyncClient:
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx2.AsyncClient(timeout=CLIENT_TIMEOUT, limits=unlimited)


async def _send(
    session: httpx2.AsyncClient, url: str, image: bytes, due: float, start: float, headers: dict[str, str]
) -> Sample:
    sent = time.perf_counter() - start
    try:
        response = await session.post(url, files={"image": ("image.jpg", image)}, headers=headers)
        status = response.status_code
    except httpx2.HTTPError:
        status = 0
    return Sample(due, sent, time.perf_counter() - start, status)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Percentiles of seconds, in milliseconds."""
    if not values:
        return {}
    return {f"p{p:g}": 1000 * float(np.percentile(values, p)) for p in (50, 95, 99, 99.9)}


def rate_of(samples: Sequence[Sample], seconds: float, within: float = CLIENT_TIMEOUT) -> float:
    """Successful responses per second, `within` so many seconds of their due time; the first 2 seconds don't count."""
    good = [s for s in samples if s.status == 200 and s.latency <= within and 2 <= s.done < seconds]
    return len(good) / (seconds - 2)
