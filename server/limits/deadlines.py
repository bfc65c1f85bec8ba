"""Deadlines: how long a request may take; its work is cancelled at the deadline or when its client disconnects."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from server.exceptions import DeadlineExceededError, InvalidHeaderError, ServerError

T = TypeVar("T")

TIMEOUT_HEADER = "X-Request-Timeout"


def parse_deadline(value: str | None, max_seconds: float) -> float:
    """When (time.monotonic) a request that starts now must be answered. Arguments and errors: `parse_timeout`."""
    return time.monotonic() + parse_timeout(value, max_seconds)


def parse_timeout(value: str | None, max_seconds: float) -> float:
    """How many seconds a request may take. `value`: its X-Request-Timeout.

    Raises InvalidHeaderError.
    """
    try:
        seconds = max_seconds if value is None else float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidHeaderError(f"invalid {TIMEOUT_HEADER} {value!r}: send a number of seconds above 0")
    return min(seconds, max_seconds)


async def run_until_deadline(request: Request, deadline: float, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled at the deadline or when the client disconnects.

    Raises DeadlineExceededError or ClientDisconnect.
    """
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        remaining = max(0.0, deadline - time.monotonic())
        await asyncio.wait({task, disconnect}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if disconnect.done():
            raise ClientDisconnect
        raise DeadlineExceededError(
            f"deadline exceeded: allow more time ({TIMEOUT_HEADER}), send fewer images at once, or retry later"
        )
    finally:
        task.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    except ServerError:  # the unread body broke a limit: disconnects can no longer be detected
        await asyncio.Future()


async def gather_all(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results of all awaitables, run concurrently. When one fails, the others are cancelled: nobody waits for
    them."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
