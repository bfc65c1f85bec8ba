"""Threads for work that waits for the disk, in separate pools: index reads, index changes, and original files.

So a catalog that another program has locked, or a slow disk, delays neither the decoders nor other kinds of work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from server.exceptions import OverloadedError

READ_THREADS = 4
WRITE_THREADS = 8
"""Additions that wait for one another are written in one commit."""
FILE_THREADS = 4
MAX_WORK_PER_THREAD = 2
"""Maximum index changes or file reads per thread, running or waiting; more are refused, to leave room for others."""
STALLED_SECONDS = 2.0
"""While an index change takes longer, other changes are refused, so that they don't occupy all threads."""

T = TypeVar("T")


class ThreadPool:
    """Threads for one kind of work. `max_work`: maximum work running or waiting; None for no limit of its own."""

    def __init__(self, num_threads: int, name: str, max_work: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._max_work = max_work
        self._running: dict[Future[Any], float] = {}

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread. It is skipped if the caller is cancelled before it begins. Raises OverloadedError."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue work. It is skipped if its future is cancelled before it begins. Raises OverloadedError."""
        if self._max_work is not None and len(self._running) >= self._max_work:
            raise OverloadedError("server busy: too many requests are waiting for the disk; retry later")
        # the executor keeps cancelled work until a thread is free: `held` is cleared, so that its data is freed at once
        held = [work]
        future = self._threads.submit(lambda: held.pop()())
        self._running[future] = time.monotonic()
        future.add_done_callback(self._running.pop)
        future.add_done_callback(lambda _: held.clear())
        return future

    @property
    def stalled_seconds(self) -> float:
        """How long the oldest work has been running or waiting."""
        started = min(list(self._running.values()), default=None)
        return 0.0 if started is None else time.monotonic() - started

    def close(self) -> None:
        """Finish the work that has begun."""
        self._threads.shutdown(cancel_futures=True)


class WritePool(ThreadPool):
    """Threads that change the index."""

    async def run(self, work: Callable[[], T]) -> T:
        """Like `ThreadPool.run`, but raises OverloadedError at once while an earlier change takes long, because it
        affects many images or waits for an index that another program has locked."""
        if self.stalled_seconds > STALLED_SECONDS:
            raise OverloadedError(
                f"server busy: an earlier change to the index has been running for {self.stalled_seconds:.0f} s; "
                "nothing was changed: retry later",
                STALLED_SECONDS,
            )
        return await super().run(work)
