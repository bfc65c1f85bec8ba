"""The inference worker: one thread runs the network; requests wait in a bounded queue until their deadline.

Jobs with the same crops run together where that pays: ten crops of one image already saturate a CPU; one-crop jobs gain
a third from batching.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.runtime import MAX_CROPS, OnnxModel
from server.exceptions import DeadlineExceededError, InferenceError
from server.limits.fairness import fits_share, overloaded_error
from server.workers.base import BatchWorker, Job

MAX_BATCH_CROPS = {"cpu": MAX_CROPS, "cuda": 320}
"""On a CPU, ten crops of two images: the weights of the fully connected layers are read once for both."""
STALL_TIMEOUT = 60.0
"""Seconds after which a batch that hasn't ended counts as stuck."""
MEASURED_BATCHES = 9
"""The network's speed is the median of this many last batches."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class InferenceResult:
    """`probabilities` (N, classes), None if only features were requested; `features` (N, feature_dim).

    `batch_images`: number of images in the whole batch, including those of other jobs.
    """

    probabilities: NDArray[np.float32] | None
    features: NDArray[np.float32]
    queue_seconds: float
    inference_seconds: float
    batch_images: int


@dataclass(eq=False)
class InferenceJob(Job[InferenceResult]):
    """(N, 256, 256, 3) images, the crops of each, and the deadline (time.monotonic)."""

    pixels: Pixels
    crops: tuple[int, ...]
    deadline: float
    classify: bool = True

    @property
    def num_crops(self) -> int:
        return len(self.pixels) * len(self.crops)


class Throughput:
    """Speed of the network: the median of the last batches, so that a single slow one doesn't count."""

    def __init__(self) -> None:
        self._speeds: deque[float] = deque(maxlen=MEASURED_BATCHES)

    def record(self, crops: int, seconds: float) -> None:
        """Count a batch."""
        self._speeds.append(crops / max(seconds, 1e-6))

    @property
    def crops_per_second(self) -> float:
        """0 before the first batch."""
        return statistics.median(self._speeds) if self._speeds else 0.0

    def seconds_for(self, crops: float) -> float:
        """Estimated seconds of this many crops."""
        speed = self.crops_per_second
        return crops / speed if speed else 0.0


class InferenceWorker(BatchWorker[InferenceJob]):
    """Runs one network in one thread. `observe_batch`: called with the number of crops of each batch."""

    def __init__(self, model: OnnxModel, max_queued_crops: int, observe_batch: Callable[[int], None]) -> None:
        self.model, self.max_queued_crops, self.observe_batch = model, max_queued_crops, observe_batch
        self.max_batch_crops = MAX_BATCH_CROPS[model.device]
        self.throughput = Throughput()
        super().__init__("inference")

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs and isn't stuck in one batch."""
        return super().is_alive and self.busy_seconds < STALL_TIMEOUT

    @property
    def queued_crops(self) -> int:
        return sum(job.num_crops for job in self.queued_jobs)

    @property
    def unfinished_crops(self) -> int:
        """Crops that are waiting or being computed."""
        return self.queued_crops + sum(job.num_crops for job in self.running_jobs)

    def crops_ahead(self, client: str, crops: int) -> float:
        """Crops being computed, plus an upper bound on those that would come before `crops` more from a client."""
        with self._changed:
            queued = self._queue.before(client, crops, lambda job: job.num_crops)
        return queued + sum(job.num_crops for job in self.running_jobs)

    def check_capacity(self, job: InferenceJob) -> None:
        """Raise OverloadedError if too many crops are waiting, in total or from this client; a job always fits into an
        empty queue."""
        queued = self.queued_crops
        own = sum(other.num_crops for other in self._queue.of_client(job.client))
        if queued and not fits_share(job.num_crops, own, queued, self.max_queued_crops):
            limit, retry_after = f"{self.max_queued_crops:,} queued crops", self.throughput.seconds_for(queued)
            raise overloaded_error(limit, own, max(1.0, retry_after))

    def fits(self, batch: Sequence[InferenceJob], job: InferenceJob) -> bool:
        first, crops = batch[0], sum(other.num_crops for other in batch)
        same_kind = (job.crops, job.classify) == (first.crops, first.classify)
        return same_kind and crops + job.num_crops <= self.max_batch_crops

    def should_run(self, job: InferenceJob) -> bool:
        """Whether a job's deadline allows it to run; if others are waiting, it must also finish by then."""
        needed = self.throughput.seconds_for(job.num_crops) if self.queued_jobs else 0.0
        if time.monotonic() + needed <= job.deadline:
            return True
        job.future.set_exception(DeadlineExceededError("deadline exceeded while queued: retry later"))
        return False

    def compute(self, batch: Sequence[InferenceJob]) -> list[InferenceResult]:
        started = time.monotonic()
        pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([job.pixels for job in batch])
        probabilities: NDArray[np.float32] | None = None
        if batch[0].classify:
            probabilities, features = self.model.run(pixels, batch[0].crops)
        else:
            features = self.model.features(pixels, batch[0].crops)
        seconds = time.monotonic() - started
        crops = sum(job.num_crops for job in batch)
        self.observe_batch(crops)
        self.throughput.record(crops, seconds)
        results, start = [], 0
        for job in batch:
            rows = slice(start, start + len(job.pixels))
            start = rows.stop
            own = None if probabilities is None else probabilities[rows]
            results.append(InferenceResult(own, features[rows], started - job.queued, seconds, len(pixels)))
        return results

    def wrap_error(self, error: Exception) -> Exception:
        failure = InferenceError("the network failed on this image")
        failure.__cause__ = error
        return failure

    def stopped_error(self) -> Exception:
        return InferenceError("the inference worker has stopped")
