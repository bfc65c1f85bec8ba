"""Requests to a server: closed loop for its peak, open loop for what its users see.

Open loop: requests leave at times drawn beforehand (Poisson), whether or not earlier ones were answered, and latency
counts from the time drawn. A generator that waits for answers would leave out just the requests that a slow server
would have kept waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
import numpy as np

TOO_LONG = 60.0


@dataclass(frozen=True)
class Sample:
    """Seconds from the start: when a request should have left, did, and was answered. Status 0: no answer."""

    due: float
    sent: float
    done: float
    status: int

    @property
    def latency(self) -> float:
        return self.done - self.due


async def closed(url: str, images: Sequence[bytes], workers: int, seconds: float) -> list[Sample]:
    """`workers` clients that each send the next image as soon as the last is answered."""
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
    """`rate` requests a second on average, for `seconds`. `timeout`: asked for with X-Request-Timeout."""
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.exponential(1 / rate, int(2 * rate * seconds) + 10))
    chosen = generator.integers(len(images), size=len(times))
    headers = {} if timeout is None else {"X-Request-Timeout": f"{timeout:g}"}
    start = time.perf_counter()
    async with _session() as session, asyncio.TaskGroup() as group:
        tasks = []
        for due, number in zip(times[times < seconds], chosen, strict=False):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            work = _send(session, url, images[number], float(due), start, headers)
            tasks.append(group.create_task(work))
    return [task.result() for task in tasks]


def _session() -> httpx2.AsyncClient:
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx2.AsyncClient(timeout=TOO_LONG, limits=unlimited)


async def _send(
    session: httpx2.AsyncClient, url: str, image: bytes, due: float, start: float, headers: dict[str, str]
) -> Sample:
    sent = time.perf_counter() - start
    try:
        answer = await session.post(url, files={"image": ("image.jpg", image)}, headers=headers)
        status = answer.status_code
    except httpx2.HTTPError:
        status = 0
    return Sample(due, sent, time.perf_counter() - start, status)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    if not values:
        return {}
    return {f"p{p:g}": 1000 * float(np.percentile(values, p)) for p in (50, 95, 99, 99.9)}


def rate_of(samples: Sequence[Sample], seconds: float, within: float = TOO_LONG) -> float:
    """Good answers a second, `within` so many seconds of their due time, from second 2 to the end of the run."""
    good = [s for s in samples if s.status == 200 and s.latency <= within and 2 <= s.done < seconds]
    return len(good) / (seconds - 2)
