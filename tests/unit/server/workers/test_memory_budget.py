"""The decoder's memory: who gets it next, and who gives up waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from server.workers.memory_budget import MemoryBudget
from tests.helpers.polling import wait_until


@contextmanager
def waiting_for_memory(budget: MemoryBudget, num_bytes: int, abandoned: threading.Event) -> Iterator[Future[int]]:
    """A thread that waits for memory; yields a future of the bytes in use once it has its own."""

    def acquire() -> int:
        with budget.acquire(num_bytes, abandoned):
            return budget.bytes

    with ThreadPoolExecutor(1) as thread:
        before = len(budget._waiting)
        future = thread.submit(acquire)
        wait_until(lambda: len(budget._waiting) > before)
        yield future


def test_memory_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    """Otherwise a large image waits as long as small ones come."""
    budget = MemoryBudget(100)
    with ExitStack() as small, ExitStack() as waiting:
        small.enter_context(budget.acquire(10, threading.Event()))
        large = waiting.enter_context(waiting_for_memory(budget, 100, threading.Event()))
        later = waiting.enter_context(waiting_for_memory(budget, 10, threading.Event()))
        assert not later.done()
        small.close()
        assert large.result(20) == 100
        assert later.result(20) == 10


def test_an_image_larger_than_the_budget_is_decoded_alone() -> None:
    budget = MemoryBudget(100)
    with budget.acquire(200, threading.Event()):
        assert budget.bytes == 200
    assert budget.bytes == 0


def test_who_gives_up_waiting_for_memory_lets_others_pass() -> None:
    budget, abandoned = MemoryBudget(100), threading.Event()
    with (
        budget.acquire(10, threading.Event()),
        waiting_for_memory(budget, 100, abandoned) as large,
        waiting_for_memory(budget, 10, threading.Event()) as small,
    ):
        budget.abandon(abandoned)
        with pytest.raises(CancelledError):
            large.result(20)
        assert small.result(20) == 20
    assert budget.bytes == 0


def test_one_that_got_memory_lets_the_next_one_look() -> None:
    budget = MemoryBudget(100)
    with ExitStack() as first, ExitStack() as waiting:
        first.enter_context(budget.acquire(90, threading.Event()))
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with budget.acquire(50, threading.Event()):
                entered.set()
                assert leave.wait(20)

        holder = threading.Thread(target=hold)
        holder.start()
        wait_until(lambda: len(budget._waiting) == 1)
        second = waiting.enter_context(waiting_for_memory(budget, 50, threading.Event()))
        first.close()
        assert entered.wait(20)
        assert second.result(5) == 100  # while the one before it still has its memory
        leave.set()
        holder.join(20)
