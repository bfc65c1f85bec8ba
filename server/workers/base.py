"""A worker: one thread that takes batches of jobs from a queue, so that the event loop stays free.

Clients take turns in the queue: a client with many jobs doesn't keep others waiting.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from server.limits.fairness import FairQueue

R = TypeVar("R")


@dataclass(eq=False, kw_only=True)
class Job(Generic[R]):
    """Work for a worker, and the future of its result. `queued`: when (time.monotonic) it was submitted.

    `client`: the client that takes turns with others.
    """

    client: str = ""
    future: Future[R] = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)


J = TypeVar("J", bound=Job[Any])


class BatchWorker(ABC, Generic[J]):
    """Runs jobs in one thread. As soon as it is free, it takes the first job of the queue and others that fit.

    If a batch fails, its jobs run one by one, so that only the culprit fails. A job whose future was cancelled is
    skipped.
    """

    def __init__(self, name: str) -> None:
        self._queue: FairQueue[J] = FairQueue()
        self._changed = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._running: Sequence[J] = ()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def compute(self, batch: Sequence[J]) -> Sequence[Any]:
        """The results of a batch, in its order."""

    @abstractmethod
    def fits(self, batch: Sequence[J], job: J) -> bool:
        """Whether a job of the queue may join a batch. Called with the queue locked."""

    @abstractmethod
    def stopped_error(self) -> Exception:
        """The exception for jobs that no thread will run."""

    def wrap_error(self, error: Exception) -> Exception:
        """The exception for a job whose computation raised `error`."""
        return error

    def should_run(self, job: J) -> bool:
        """Whether a job should still run; if not, this sets its exception."""
        return True

    def check_capacity(self, job: J) -> None:
        """Raise if the queue has no room for a job. Called with the queue locked."""

    def submit(self, job: J) -> Future[Any]:
        """Queue a job; never blocks. Raises what `check_capacity` raises, or `stopped_error`."""
        with self._changed:
            if not self.is_alive or self._closing:
                raise self.stopped_error()
            self.check_capacity(job)
            self._queue.append(job)
            self._changed.notify()
        return job.future

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def queued_jobs(self) -> list[J]:
        """Waiting jobs, in the order in which they would be taken."""
        with self._changed:
            return list(self._queue)

    @property
    def running_jobs(self) -> Sequence[J]:
        """Jobs that are being computed."""
        return self._running

    @property
    def busy_seconds(self) -> float:
        """How long the current batch has been running; 0 if none is."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Run the waiting jobs, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            while batch := self._take_batch():
                self._busy_since, self._running = time.monotonic(), batch
                self._run(batch)
                self._busy_since, self._running = None, ()
        finally:  # only a bug in this class leaves jobs behind; nobody should wait for them
            with self._changed:
                self._closing = True
                for job in (*self._running, *self._queue):
                    if not job.future.done():
                        job.future.set_exception(self.stopped_error())
                self._queue.clear()

    def _take_batch(self) -> list[J]:
        """The next batch; empty if the worker should end."""
        with self._changed:
            batch: list[J] = []
            while not batch:
                self._changed.wait_for(lambda: len(self._queue) or self._closing)
                if not len(self._queue):
                    return []
                self._add_if_runnable(self._queue.popleft(), batch)
            for job in list(self._queue):
                if self.fits(batch, job):
                    self._queue.remove(job)
                    self._add_if_runnable(job, batch)
            return batch

    def _add_if_runnable(self, job: J, batch: list[J]) -> None:
        if job.future.set_running_or_notify_cancel() and self.should_run(job):
            batch.append(job)

    def _run(self, batch: Sequence[J]) -> None:
        try:
            results = self.compute(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(self.wrap_error(error))
                return
            for job in batch:
                self._run([job])
            return
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)
