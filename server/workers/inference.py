"""One thread runs the network; requests wait for it in a bounded queue and leave it when their time is over.

The thread takes what waits as soon as it is free, without a timer. Jobs of the same crops go together while that pays:
ten crops of one image fill a CPU already, one-crop jobs gain a third from company.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.exceptions import AlexNetError
from model.runtime import OnnxModel

CROPS_A_BATCH = {"cpu": 10, "cuda": 320}
HUNG_SECONDS = 60.0
MEASURED_BATCHES = 9

Pixels = NDArray[np.uint8]


class OverloadedError(AlexNetError):
    """More work waits than the server takes on. `retry_after`: seconds until it might be done."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(AlexNetError):
    """The request's time was over before its answer was there."""


class BrokenInferenceError(AlexNetError):
    """The network could not be run on this image, or no longer at all."""


@dataclass(frozen=True)
class Answer:
    """`probabilities` (N, classes), absent where only features were asked for; `features` (N, feature_dim).

    `waited` and `took`: seconds in the queue and in the network.
    """

    probabilities: NDArray[np.float32] | None
    features: NDArray[np.float32]
    waited: float
    took: float


@dataclass(eq=False)
class Job:
    """(N, 256, 256, 3) images, the crops of each, and until when (time.monotonic) an answer is wanted."""

    pixels: Pixels
    crops: tuple[int, ...]
    classify: bool
    deadline: float
    future: Future[Answer] = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)

    @property
    def num_crops(self) -> int:
        return len(self.pixels) * len(self.crops)


class Inference:
    """Runs one network in one thread. `submit` never blocks; `close` finishes what waits. `observe`: told the crops of
    each batch."""

    def __init__(self, model: OnnxModel, max_crops: int, observe: Callable[[float], None] = lambda crops: None) -> None:
        self.model, self.max_crops, self.observe = model, max_crops, observe
        self.batch_crops = CROPS_A_BATCH.get(model.device, 10)
        self._speeds: deque[float] = deque(maxlen=MEASURED_BATCHES)
        self._running = 0
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[Answer]:
        """Queue a job. Raises OverloadedError when too many crops wait, BrokenInferenceError when nobody would come."""
        with self._changed:
            if not self.alive:
                raise BrokenInferenceError("expected a running network, found its thread ended")
            waiting = sum(waiting.num_crops for waiting in self._waiting)
            if self._waiting and waiting + job.num_crops > self.max_crops:
                raise OverloadedError(
                    f"expected at most {self.max_crops:,} crops waiting, found {waiting:,}: try again later",
                    max(1.0, self.seconds_for(waiting)),
                )
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    @property
    def crops_per_second(self) -> float:
        """Median of the last batches, so that a moment of standstill doesn't count; 0 before them."""
        return statistics.median(self._speeds) if self._speeds else 0.0

    def seconds_for(self, crops: int) -> float:
        """How long so many crops take, as measured so far."""
        speed = self.crops_per_second
        return crops / speed if speed else 0.0

    @property
    def alive(self) -> bool:
        """Whether the thread runs, and isn't stuck in one batch."""
        busy = self._busy_since
        return self._thread.is_alive() and (busy is None or time.monotonic() - busy < HUNG_SECONDS)

    @property
    def waiting_crops(self) -> int:
        return sum(job.num_crops for job in list(self._waiting))

    @property
    def unfinished_crops(self) -> int:
        """Those that wait, and those in the network now."""
        return self.waiting_crops + self._running

    def close(self) -> None:
        """Run what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._take():
            self._busy_since, self._running = time.monotonic(), sum(job.num_crops for job in batch)
            self._run(batch)
            self._busy_since, self._running = None, 0

    def _take(self) -> list[Job]:
        """The next jobs to run together: the first that waits, and others of its kind. None of them is too late."""
        with self._changed:
            while True:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return []
                first = self._waiting.popleft()
                if self._wanted(first):
                    break
            batch, crops = [first], first.num_crops
            for job in list(self._waiting):
                alike = (job.crops, job.classify) == (first.crops, first.classify)
                if alike and crops + job.num_crops <= self.batch_crops:
                    self._waiting.remove(job)
                    if self._wanted(job):
                        batch.append(job)
                        crops += job.num_crops
            return batch

    def _run(self, batch: Sequence[Job]) -> None:
        started = time.monotonic()
        try:
            probabilities, features = self._infer(batch)
        except Exception as error:  # whatever the runtime raises: the culprit alone must fail
            if len(batch) > 1:
                for job in batch:
                    self._run([job])
            else:
                failure = BrokenInferenceError("expected the network to run on this image, found that it failed")
                failure.__cause__ = error
                batch[0].future.set_exception(failure)
            return
        took = time.monotonic() - started
        crops = sum(job.num_crops for job in batch)
        self.observe(crops)
        self._speeds.append(crops / max(took, 1e-6))
        position = 0
        for job in batch:
            rows = slice(position, position + len(job.pixels))
            position = rows.stop
            own = None if probabilities is None else probabilities[rows]
            job.future.set_result(Answer(own, features[rows], started - job.queued, took))

    def _infer(self, batch: Sequence[Job]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([job.pixels for job in batch])
        if batch[0].classify:
            return self.model.run(pixels, batch[0].crops)
        return None, self.model.features(pixels, batch[0].crops)

    def _wanted(self, job: Job) -> bool:
        """Mark a job as running, unless its client has left, or it would be done too late while others wait."""
        if not job.future.set_running_or_notify_cancel():
            return False
        needs = self.seconds_for(job.num_crops) if self._waiting else 0.0
        if time.monotonic() + needs > job.deadline:
            job.future.set_exception(DeadlineError("expected to be done in time, found the time over in the queue"))
            return False
        return True
