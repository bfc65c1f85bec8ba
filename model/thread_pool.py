"""`ordered_map`: a map over threads that works ahead of its reader and keeps few results in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from model.cpus import available_cpus

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 0, ahead: int = 0
) -> Iterator[Result]:
    """Yield `function(item)` for each item in the order of `items`, computed by threads.

    `workers`: number of threads (0: one per processor). `ahead`: maximum number of results that are computed before
    they are read (0: twice the number of threads). Raises what `function` raises, at the item's place. When the
    iterator is closed early, calls that haven't begun are canceled.
    """
    workers = workers or available_cpus()
    limit = ahead or 2 * workers
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ordered-map")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
