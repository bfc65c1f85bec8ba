"""A worker's thread: batches, failures, cancelled jobs, its end, and a fault of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from server.workers.base import BatchWorker, Job
from tests.helpers.polling import wait_until

WAIT = 20


@dataclass(eq=False, kw_only=True)
class Number(Job[int]):
    value: int


class StoppedError(Exception):
    pass


class Squares(BatchWorker[Number]):
    """Squares numbers in batches of the same sign; 13 fails, and numbers above 100 are too late."""

    def __init__(self, compute: Callable[[Sequence[Number]], list[int]] | None = None) -> None:
        self.batches: list[list[int]] = []
        self.override = compute
        super().__init__("squares")

    def compute(self, batch: Sequence[Number]) -> list[int]:
        self.batches.append([job.value for job in batch])
        if self.override is not None:
            return self.override(batch)
        if any(job.value == 13 for job in batch):
            raise ValueError("13")
        return [job.value**2 for job in batch]

    def fits(self, batch: Sequence[Number], job: Number) -> bool:
        return all((job.value > 0) == (other.value > 0) for other in batch)

    def stopped_error(self) -> Exception:
        return StoppedError()

    def should_run(self, job: Number) -> bool:
        if job.value > 100:
            job.future.set_exception(TimeoutError())
        return job.value <= 100


def submit(worker: Squares, *values: int) -> list[Future[int]]:
    return [worker.submit(Number(value=value)) for value in values]


@contextmanager
def held() -> Iterator[tuple[Squares, threading.Event]]:
    """A worker that computes 0 until the event is set, so that other jobs gather in its queue."""
    release = threading.Event()

    def compute(batch: Sequence[Number]) -> list[int]:
        if [job.value for job in batch] == [0]:
            release.wait(WAIT)
        if any(job.value == 13 for job in batch):
            raise ValueError("13")
        return [job.value**2 for job in batch]

    worker = Squares(compute)
    first = worker.submit(Number(value=0))
    wait_until(lambda: bool(worker.running_jobs))
    try:
        yield worker, release
        assert first.result(WAIT) == 0
    finally:
        release.set()
        worker.close()


def test_jobs_that_fit_are_one_batch() -> None:
    with held() as (worker, release):
        futures = submit(worker, 1, -2, 3)
        assert [job.value for job in worker.queued_jobs] == [1, -2, 3]
        assert worker.busy_seconds > 0
        release.set()
        assert [future.result(WAIT) for future in futures] == [1, 4, 9]
        assert worker.batches == [[0], [1, 3], [-2]]
        wait_until(lambda: not worker.running_jobs and worker.busy_seconds == 0)


def test_only_the_job_at_fault_fails() -> None:
    with held() as (worker, release):
        futures = submit(worker, 12, 13, 14)
        release.set()
        assert [futures[0].result(WAIT), futures[2].result(WAIT)] == [144, 196]
        with pytest.raises(ValueError, match="13"):
            futures[1].result(WAIT)
        assert worker.batches == [[0], [12, 13, 14], [12], [13], [14]]


def test_what_nobody_waits_for_is_not_computed() -> None:
    with held() as (worker, release):
        cancelled, late, computed = submit(worker, 5, 101, 6)
        assert cancelled.cancel()
        release.set()
        assert computed.result(WAIT) == 36
        with pytest.raises(TimeoutError):
            late.result(WAIT)
        with pytest.raises(CancelledError):
            cancelled.result(WAIT)
        assert worker.batches == [[0], [6]]


def test_a_job_wakes_an_idle_worker() -> None:
    worker = Squares()
    assert submit(worker, 2)[0].result(WAIT) == 4
    wait_until(lambda: worker.busy_seconds == 0)
    assert submit(worker, 3)[0].result(WAIT) == 9
    worker.close()


def test_what_waits_is_computed_before_the_end() -> None:
    with held() as (worker, release):
        (future,) = submit(worker, 7)
        closing = threading.Thread(target=worker.close)
        closing.start()
        wait_until(lambda: worker._closing)
        with pytest.raises(StoppedError):
            submit(worker, 8)
        assert closing.is_alive()
        release.set()
        closing.join(WAIT)
        assert not worker.is_alive
        assert future.result(0) == 49


def test_a_fault_of_the_worker_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with held() as (worker, release):
        futures = submit(worker, 1, -1)
        monkeypatch.setattr(worker, "_run", lambda batch: batch[0].future.set_result(0) or 1 / 0)
        release.set()
        assert futures[0].result(WAIT) == 0  # it has its result already
        with pytest.raises(StoppedError):
            futures[1].result(WAIT)
        wait_until(lambda: not worker.is_alive)
        assert not worker.queued_jobs
        with pytest.raises(StoppedError):
            submit(worker, 2)
