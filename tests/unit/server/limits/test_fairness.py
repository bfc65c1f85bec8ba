"""Fairness: one client, however many requests it sends, leaves room and turns for others."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from server.app import create_app
from server.exceptions import OverloadedError, RateLimitedError
from server.limits.admission import Admission
from server.limits.fairness import FairQueue, FairSemaphore, RateLimit, client_at, fits_share, limit_for_share
from server.service import Service
from server.settings import Settings
from server.workers.inference import InferenceJob


@dataclass(eq=False)
class Item:
    client: str
    number: int


def queue_of(*clients: str) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for number, client in enumerate(clients):
        queue.append(Item(client, number))
    return queue


def test_clients_take_turns() -> None:
    queue = queue_of(*"aaaaab", *"ac")
    assert [item.client for item in queue] == list("abcaaaaa")
    assert [queue.popleft().number for _ in range(len(queue))] == [0, 5, 7, 1, 2, 3, 4, 6]
    with pytest.raises(IndexError):
        queue.popleft()


def test_what_is_before_a_client() -> None:
    queue = queue_of(*"aaaaabb")
    assert queue.before("c", 1, lambda item: 1) == 2  # one item of each
    assert queue.before("b", 1, lambda item: 1) == 2 + 3
    assert queue.before("a", 1, lambda item: 10) == 50 + 20


@pytest.mark.parametrize(("limit", "alone", "third"), [(1, 1, 0), (2, 2, 0), (8, 5, 2), (64, 33, 16)])
def test_shares(limit: int, alone: int, third: int) -> None:
    """What a client gets alone, and what a second client then gets."""

    def take(held: dict[str, int], client: str) -> None:
        while fits_share(1, held[client], sum(held.values()), limit):
            held[client] += 1

    held = dict.fromkeys("abc", 0)
    take(held, "a")
    assert held["a"] == alone
    take(held, "b")
    assert held["b"] == third


@pytest.mark.parametrize("count", [1, 2, 3, 16, 64])
def test_the_limit_for_a_share_is_the_smallest(count: int) -> None:
    def all_fit(limit: int) -> bool:
        return all(fits_share(10, 10 * held, 10 * held, limit) for held in range(count))

    needed = limit_for_share(10, count)
    assert all_fit(needed)
    assert not all_fit(needed - 1)


def test_a_flood_leaves_places_and_bytes_for_others() -> None:
    admission = Admission(8, 1000, lambda: 7.4)
    flood = [admission.admit("flood") for _ in range(5)]
    quotas = [place.__enter__() for place in flood]
    with pytest.raises(OverloadedError, match="shared by all clients; this client has 5;") as refused:
        admission.admit("flood").__enter__()
    assert refused.value.retry_after == 7.4
    quotas[0].add(500)
    quotas[1].add(400)
    with pytest.raises(OverloadedError, match="bytes in flight"):
        quotas[2].add(50)
    with admission.admit("polite") as quota:
        quota.add(50)
    for place in flood:
        place.__exit__(None, None, None)
    assert (admission.requests, admission.bytes) == (0, 0)
    assert not admission._requests_of
    assert not admission._bytes_of
    with admission.admit("one") as quota:
        quota.add(2000)  # a single body always fits


def test_turns_at_the_decoder() -> None:
    async def run() -> list[str]:
        turns, order = FairSemaphore(1), list[str]()

        async def work(client: str, seconds: float = 0) -> None:
            async with turns.take(client):
                order.append(client)
                await asyncio.sleep(seconds)

        first = asyncio.create_task(work("flood", 0.01))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(work(client)) for client in [*["flood"] * 5, "polite"]]
        await asyncio.sleep(0)
        assert (turns.num_waiting, turns.num_before("polite", 1), turns.num_before("new", 1)) == (6, 3, 2)
        tasks[0].cancel()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        assert turns.num_waiting == 0
        async with turns.take("again"):
            return order

    assert asyncio.run(run()) == ["flood", "flood", "polite", "flood", "flood", "flood"]


def test_a_turn_that_comes_too_late_is_passed_on() -> None:
    async def run() -> None:
        turns = FairSemaphore(1)
        async with turns.take("a"):
            waiting = asyncio.create_task(turns.take("b").__aenter__())
            await asyncio.sleep(0)
        waiting.cancel()  # its turn has come, but it hasn't run yet
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1), turns.take("c"):
            pass

    asyncio.run(run())


def test_the_networks_queue_takes_turns(artifact: Artifact) -> None:
    service = Service(Settings(artifact=artifact.path))
    inference, order, running = service.current.inference, list[str](), service.current.model.run
    try:
        service.current.model.run = lambda *job: order.append("run") or running(*job)  # type: ignore[method-assign, func-returns-value]
        with inference._changed:  # hold the worker until all jobs are queued
            futures = []
            for client in [*["flood"] * 4, "polite"]:
                job = InferenceJob(np.zeros((1, 256, 256, 3), np.uint8), TEN_CROP, 1e12, client=client)
                job.future.add_done_callback(lambda _, client=client: order.append(client))  # type: ignore[misc]
                futures.append(inference.submit(job))
            assert inference.crops_ahead("polite", 10) == 30
            assert inference.crops_ahead("new", 10) == 20
        for future in futures:
            future.result(20)
    finally:
        service.close()
    assert [name for name in order if name != "run"][:2] == ["flood", "polite"]


def test_requests_per_second() -> None:
    limit = RateLimit(0.5)
    limit.check("a")
    limit.check("b")
    with pytest.raises(RateLimitedError) as refused:
        limit.check("a")
    assert 1.9 < refused.value.retry_after <= 2
    many = RateLimit(1000)
    for _ in range(1000):
        many.check("a")
    RateLimit(None).check("a")


@pytest.mark.parametrize("uptime", [0, 1, 12_345, 10**6 + 1, 10**8 + 7])
def test_a_client_that_keeps_to_the_rate_is_never_refused(uptime: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its burst nor at the allowed rate, whatever the clock says."""
    clock = 0
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock)
    for rate in [*np.arange(0.01, 1, 0.01), *np.geomspace(0.001, 200, 50), *range(1, 60)]:
        limit, burst = RateLimit(float(rate)), max(1, int(rate))
        begun = uptime * 10**9 + round(rate * 1_000_003)
        for number in range(burst + 20):
            clock = begun + math.ceil(10**9 / rate) * max(0, number - burst + 1)
            limit.check("a")
        with pytest.raises(RateLimitedError):
            limit.check("a")


def test_each_key_has_its_rate(artifact: Artifact, jpeg: bytes) -> None:
    keys = f"read:{'r' * 16},read:{'s' * 16}"
    service = Service(Settings(artifact=artifact.path, keys=keys, requests_per_second=0.01))
    with TestClient(create_app(service)) as client:
        for key in ("r" * 16, "s" * 16):
            headers = {"X-API-Key": key}
            assert client.post("/classify?crops=1", content=jpeg, headers=headers).status_code == 200
            refused = client.post("/classify?crops=1", content=jpeg, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
            assert 90 < int(refused.headers["retry-after"]) <= 100
            assert client.get("/info", headers=headers).status_code == client.get("/live").status_code == 200


@pytest.mark.parametrize(
    ("address", "client"),
    [("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::/64"), ("::ffff:10.0.0.1", "10.0.0.1"), ("unix", "unix"),
     ("fe80::1%eth0", "fe80::/64")],
)  # fmt: skip
def test_who_a_client_is(address: str, client: str) -> None:
    assert client_at(address) == client


@pytest.mark.parametrize("cancelled_at_once", [slice(0, None), slice(1, None), slice(0, None, 2)])
def test_waiters_that_are_cancelled_at_once_lose_no_permit(cancelled_at_once: slice) -> None:
    """As when one of many images in a request fails."""

    async def run() -> tuple[int, int]:
        turns = FairSemaphore(2)

        async def work() -> None:
            async with turns.take("a"):
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(work()) for _ in range(9)]
        await asyncio.sleep(0)
        for task in tasks[cancelled_at_once]:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.wait_for(asyncio.gather(*[work() for _ in range(9)]), 5)
        return turns._free, turns.num_waiting

    assert asyncio.run(run()) == (2, 0)


def test_the_least_recently_active_client_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.limits.fairness.MAX_RATE_LIMITED_CLIENTS", 2)
    limit = RateLimit(2)
    for client in ("a", "b", "a", "c"):  # b makes room for c
        limit.check(client)
    with pytest.raises(RateLimitedError):
        limit.check("a")
    limit.check("c")
    with pytest.raises(RateLimitedError):
        limit.check("c")
