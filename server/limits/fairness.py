"""Fairness between clients: shares of limited resources, turns in queues, and requests per second.

A client is an API key or, if the server has no keys, an address (for IPv6, its /64 network).
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from server.exceptions import OverloadedError, RateLimitedError

MAX_RATE_LIMITED_CLIENTS = 10_000
"""Clients whose requests per second are counted; beyond that, the least recently active one is forgotten."""
NANOSECONDS = 1_000_000_000
"""In a second."""


def client_at(address: str) -> str:
    """The client at an address. For IPv6, it is the /64 network: whoever has one of its addresses has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return address


def fits_share(amount: float, held_by_client: float, held_by_all: float, limit: float) -> bool:
    """Whether `amount` is free, and the client holds at most as much as is free.

    A single client thus gets slightly more than half of the limit, two clients get about a third each, and something
    is always left for the next client.
    """
    free = limit - held_by_all
    return amount <= free and held_by_client <= free


def overloaded_error(limit: str, held: float, retry_after: float) -> OverloadedError:
    """The error for a client to which `fits_share` grants nothing. `limit`: the limit, with its unit; `held`: what the
    client holds of it; `retry_after`: seconds after which the client may expect to be accepted."""
    share = f"; this client has {held:,}" if held else ""
    return OverloadedError(f"server busy: limit of {limit}, shared by all clients{share}; retry later", retry_after)


def limit_for_share(amount: int, count: int) -> int:
    """The smallest limit at which `fits_share` grants a single client `amount`, `count` times in a row."""
    return amount * max(count, 2 * (count - 1))


class HasClient(Protocol):
    """An item of a fair queue."""

    @property
    def client(self) -> str: ...


T = TypeVar("T", bound=HasClient)


class FairQueue(Generic[T]):
    """A queue in which clients take turns; each client's items stay in order."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    def __iter__(self) -> Iterator[T]:
        """All items, in the order in which they would be taken."""
        queues = [iter(queue) for queue in self._clients.values()]
        while queues:
            remaining = []
            for queue in queues:
                for item in queue:
                    yield item
                    remaining.append(queue)
                    break
            queues = remaining

    def append(self, item: T) -> None:
        """Add an item behind the client's other items."""
        self._clients.setdefault(item.client, deque()).append(item)

    def popleft(self) -> T:
        """Take the next item; its client is then the last in turn. Raises IndexError if there is none."""
        if not self._clients:
            raise IndexError("the queue is empty")
        client, queue = next(iter(self._clients.items()))
        item = queue.popleft()
        self._clients.move_to_end(client)
        if not queue:
            del self._clients[client]
        return item

    def remove(self, item: T) -> None:
        """Take an item out of turn."""
        self._clients[item.client].remove(item)
        if not self._clients[item.client]:
            del self._clients[item.client]

    def discard(self, item: T) -> None:
        """Take an item out of turn, if it is in the queue."""
        if item in self._clients.get(item.client, ()):
            self.remove(item)

    def clear(self) -> None:
        self._clients.clear()

    def of_client(self, client: str) -> list[T]:
        """The items of one client."""
        return list(self._clients.get(client, ()))

    def before(self, client: str, amount: float, measure: Callable[[T], float]) -> float:
        """Upper bound on the work that would be taken before `amount` more from this client.

        This client's queued work counts in full; each other client's counts up to that plus `amount`.
        """
        own = sum(map(measure, self._clients.get(client, ())))
        others = (sum(map(measure, queue)) for name, queue in self._clients.items() if name != client)
        return own + sum(min(other, own + amount) for other in others)


class _Waiter:
    """A request that waits for its turn."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairSemaphore:
    """A semaphore that clients acquire in turn. Only the event loop calls it."""

    def __init__(self, permits: int) -> None:
        self._free = permits
        self._waiting: FairQueue[_Waiter] = FairQueue()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def num_before(self, client: str, amount: int) -> float:
        """Upper bound on the waiters that come before `amount` more from this client."""
        return self._waiting.before(client, amount, lambda waiter: 1.0)

    @asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """Hold a permit for a block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(_Waiter(client))
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._waiting.discard(waiter)
            else:
                self._pass_on()  # cancelled after it got its turn
            raise

    def _pass_on(self) -> None:
        while len(self._waiting):
            waiter = self._waiting.popleft()
            if not waiter.turn.cancelled():  # else its task was cancelled, but hasn't left the queue yet
                waiter.turn.set_result(None)
                return
        self._free += 1


class RateLimit:
    """Limits each client's requests per second; a burst may be one second's requests. Only the event loop calls it."""

    def __init__(self, requests_per_second: float | None) -> None:
        self.rate = requests_per_second
        self._next_free: OrderedDict[str, int] = OrderedDict()

    def check(self, client: str) -> None:
        """Count a request. Raises RateLimitedError."""
        if self.rate is None:
            return
        now, interval = time.monotonic_ns(), int(NANOSECONDS / self.rate)  # integers: a float sum may round up
        due = max(now, self._next_free.get(client, 0)) + interval
        wait = (due - now - max(NANOSECONDS, interval)) / NANOSECONDS
        if wait > 0:
            raise RateLimitedError(f"more than {self.rate:g} requests per second: retry in {math.ceil(wait)} s", wait)
        self._next_free[client] = due
        self._next_free.move_to_end(client)
        if len(self._next_free) > MAX_RATE_LIMITED_CLIENTS:
            self._next_free.popitem(last=False)
