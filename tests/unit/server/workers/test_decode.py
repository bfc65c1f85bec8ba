"""The decode pool: what it keeps of images that nobody waits for anymore."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from model.cpus import available_cpus
from model.exceptions import InvalidImageError
from model.images.contract import DEFAULT_CONTRACT
from model.images.limits import ImageLimits
from server.workers.decode import DecodePool


@contextmanager
def pool_of_blocked_threads() -> Iterator[tuple[DecodePool, threading.Event]]:
    """A pool, and an event that all of its threads wait for."""
    pool, released = DecodePool(ImageLimits()), threading.Event()
    try:
        for _ in range(available_cpus()):
            pool.submit(released.wait)
        yield pool, released
    finally:
        released.set()
        pool.close()


def test_images_whose_clients_left_are_not_kept_in_memory() -> None:
    async def run() -> int:
        with pool_of_blocked_threads() as (pool, _):
            tracemalloc.start()
            try:
                for number in range(20):
                    task = asyncio.create_task(pool.decode(bytes([number]) * 1_000_000, DEFAULT_CONTRACT))
                    await asyncio.sleep(0)
                    assert pool.pending == 1
                    task.cancel()
                    await asyncio.wait({task})
                    del task
                assert pool.pending == 0
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

    assert asyncio.run(run()) < 2_000_000


def test_a_decode_that_nobody_waits_for_counts_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then, its thread isn't free for others."""
    begun, released = threading.Event(), threading.Event()

    def decode(*_: object) -> None:
        begun.set()
        released.wait(20)

    async def run() -> None:
        pool = DecodePool(ImageLimits())
        task = asyncio.create_task(pool.decode(b"", DEFAULT_CONTRACT))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert pool.pending == 1
        released.set()
        await asyncio.to_thread(pool.close)
        assert pool.pending == 0

    monkeypatch.setattr("server.workers.decode.decode_image", decode)
    asyncio.run(run())


def test_what_is_wrong_with_an_image_is_raised() -> None:
    async def run() -> None:
        with pool_of_blocked_threads() as (pool, released):
            released.set()
            with pytest.raises(InvalidImageError):
                await pool.decode(b"no image", DEFAULT_CONTRACT)

    asyncio.run(run())


def test_an_image_that_waits_for_memory_is_given_up_when_its_client_leaves(jpeg: bytes) -> None:
    async def run() -> None:
        pool = DecodePool(ImageLimits())
        budget = pool._budget
        with budget.acquire(budget.max_bytes, threading.Event()):
            task = asyncio.create_task(pool.decode(jpeg, DEFAULT_CONTRACT))
            while not budget._waiting:
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait({task})
            await asyncio.to_thread(pool.close)
            assert (pool.pending, budget.bytes) == (0, budget.max_bytes)

    asyncio.run(asyncio.wait_for(run(), 20))
