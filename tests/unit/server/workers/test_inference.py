"""The network's thread: greedy batches, one culprit at a time, deadlines, clients that left, a bound on what waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.images.crops import CENTER_CROP, TEN_CROP
from model.runtime import OnnxModel
from server.app import create_app
from server.exceptions import DeadlineExceededError, InferenceError, OverloadedError
from server.service import Service
from server.settings import Settings
from server.workers import inference as inference_module
from server.workers.inference import MEASURED_BATCHES, InferenceJob, InferenceResult, InferenceWorker
from tests.helpers.polling import wait_until

POISON = 77


class Gate:
    """The real network behind a gate; an image that begins with POISON makes the runtime fail."""

    def __init__(self, model: OnnxModel) -> None:
        self.model, self.device = model, "cpu"
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def features(self, pixels: NDArray[np.uint8], crops: Sequence[int]) -> NDArray[np.float32]:
        return self.run(pixels, crops)[1]

    def run(self, pixels: NDArray[np.uint8], crops: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.entered.set()
        assert self.open.wait(20)
        self.batches.append(len(pixels))
        if (pixels[:, 0, 0, 0] == POISON).any():
            raise RuntimeError("a kernel failed")
        return self.model.run(pixels, crops)


@pytest.fixture
def gate(model: OnnxModel) -> Gate:
    return Gate(model)


@pytest.fixture
def inference(gate: Gate) -> Iterator[InferenceWorker]:
    inference = InferenceWorker(gate, 24, lambda crops: None)  # type: ignore[arg-type]
    yield inference
    gate.open.set()
    inference.close()


def job(value: int = 0, crops: tuple[int, ...] = CENTER_CROP, seconds: float = 20.0) -> InferenceJob:
    return InferenceJob(np.full((1, 256, 256, 3), value, np.uint8), crops, time.monotonic() + seconds)


def _note(order: list[str], name: str, future: Future[InferenceResult]) -> None:
    order.append(name)


def slow_down(inference: InferenceWorker) -> None:
    """Record the last batches as if run at 10 crops per second."""
    for _ in range(MEASURED_BATCHES):
        inference.throughput.record(10, 1.0)


def occupied(inference: InferenceWorker, gate: Gate) -> InferenceJob:
    """Submit a job, and return it once the network is busy with it."""
    first = job()
    inference.submit(first)
    assert gate.entered.wait(20)
    return first


def test_what_waits_goes_together(inference: InferenceWorker, gate: Gate, model: OnnxModel) -> None:
    inference.max_batch_crops = 10
    occupied(inference, gate)
    jobs = [job(value) for value in range(12)]
    futures = [inference.submit(j) for j in jobs]
    gate.open.set()
    for value, future in enumerate(futures):
        expected = model.run(jobs[value].pixels, CENTER_CROP)
        answer = future.result(20)
        assert answer.probabilities is not None
        np.testing.assert_allclose(answer.probabilities[0], expected[0][0], atol=1e-6)
        np.testing.assert_array_equal(answer.features, expected[1])
    assert gate.batches == [1, 10, 2]  # all that waits once it is free, up to the maximum


def test_ten_crops_are_not_split_and_others_go_round_them(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    order: list[str] = []
    futures = []
    for name, crops in (("a", CENTER_CROP), ("ten", TEN_CROP), ("b", CENTER_CROP)):
        future = inference.submit(job(crops=crops))
        future.add_done_callback(partial(_note, order, name))
        futures.append(future)
    gate.open.set()
    for future in futures:
        future.result(20)
    assert gate.batches == [1, 2, 1]
    assert order == ["a", "b", "ten"]


def test_features_alone_are_computed_apart_from_classes(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    both, features = job(1), replace(job(1), classify=False)
    futures = [inference.submit(asked) for asked in (both, features)]
    gate.open.set()
    classified, described = (future.result(20) for future in futures)
    assert classified.probabilities is not None
    assert described.probabilities is None
    np.testing.assert_array_equal(described.features, classified.features)
    assert gate.batches == [1, 1, 1]


def test_only_the_culprit_fails(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    futures = [inference.submit(job(value)) for value in (1, POISON, 2, 3)]
    gate.open.set()
    for value, future in zip((1, POISON, 2, 3), futures, strict=True):
        if value == POISON:
            with pytest.raises(InferenceError, match="on this image"):
                future.result(20)
        else:
            assert future.result(20).features.shape == (1, 64)
    assert gate.batches == [1, 4, 1, 1, 1, 1]
    assert inference.is_alive


def test_late_jobs_and_those_of_clients_that_left_are_not_run(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    late, gone, good = (inference.submit(job(seconds=s)) for s in (-1, 20, 20))
    assert gone.cancel()
    gate.open.set()
    good.result(20)
    with pytest.raises(DeadlineExceededError):
        late.result(20)
    assert gate.batches == [1, 1]


def test_what_waits_is_bounded(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    for _ in range(2):
        inference.submit(job(crops=TEN_CROP))
    with pytest.raises(OverloadedError) as refused:
        inference.submit(job())
    assert refused.value.retry_after > 0
    assert inference.queued_crops == 20


def test_a_client_that_has_nothing_queued_is_not_told_its_share(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    for client in ("one", "two"):
        inference.submit(replace(job(crops=TEN_CROP), client=client))
    with pytest.raises(OverloadedError, match="limit of 24 queued crops, shared by all clients; retry later"):
        inference.submit(replace(job(crops=TEN_CROP), client="three"))


def test_closing_finishes_what_waits(gate: Gate) -> None:
    inference = InferenceWorker(gate, 20, lambda crops: None)  # type: ignore[arg-type]
    futures = [inference.submit(job()) for _ in range(3)]
    gate.open.set()
    inference.close()
    assert all(future.done() for future in futures)
    with pytest.raises(InferenceError, match="has stopped"):
        inference.submit(job())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_thread_turns_liveness_red(artifact: Artifact) -> None:
    service = Service(Settings(artifact=artifact.path))
    inference = service.current.inference

    def die(pixels: object, crops: object) -> None:
        raise SystemExit  # ends a thread silently, as nothing else in the worker can

    with TestClient(create_app(service)) as client:
        assert client.get("/live").status_code == 200
        service.current.model.run = die  # type: ignore[method-assign, assignment]
        with pytest.raises(InferenceError, match="has stopped"):
            inference.submit(job()).result(20)
        wait_until(lambda: client.get("/live").status_code == 503)
        assert "stopped or stuck" in client.get("/live").json()["status"]
        with pytest.raises(InferenceError, match="has stopped"):
            inference.submit(job())


def test_a_stuck_network_turns_liveness_red(
    inference: InferenceWorker, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_module, "STALL_TIMEOUT", 0.01)
    assert inference.is_alive
    occupied(inference, gate)
    wait_until(lambda: not inference.is_alive)


def test_a_job_that_would_be_late_is_not_begun_while_others_wait(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    slow_down(inference)  # a crop takes 0.1 seconds
    late, good = inference.submit(job(crops=TEN_CROP, seconds=0.9)), inference.submit(job())
    gate.open.set()
    good.result(20)
    with pytest.raises(DeadlineExceededError):
        late.result(20)
    alone = inference.submit(job(crops=TEN_CROP, seconds=0.9))  # trying costs nothing, and corrects a wrong speed
    assert alone.result(20)
    assert gate.batches == [1, 1, 1]


def test_a_job_of_more_crops_than_the_limit_fits_into_an_empty_queue(inference: InferenceWorker, gate: Gate) -> None:
    many = InferenceJob(np.zeros((3, 256, 256, 3), np.uint8), TEN_CROP, time.monotonic() + 20)
    future = inference.submit(many)
    gate.open.set()
    assert len(future.result(20).features) == 3


def test_crops_that_are_computed_now_come_before_a_request(inference: InferenceWorker, gate: Gate) -> None:
    occupied(inference, gate)
    assert inference.crops_ahead("me", 1) == 1
    inference.submit(job(crops=TEN_CROP))
    assert inference.unfinished_crops == 11
