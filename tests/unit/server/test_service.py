"""The service: work that could not be done in time is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from starlette.requests import Request

from model.artifacts.artifact import Artifact
from server.exceptions import OverloadedError, ReloadError
from server.limits.admission import Admission, BodyQuota
from server.limits.fairness import FairSemaphore
from server.loaded_model import LoadedModel
from server.request_context import RequestContext
from server.service import Service
from server.settings import Settings
from server.workers.decode import DecodePool
from tests.helpers.polling import wait_until


def test_work_is_refused_at_once_when_it_could_not_be_done_in_time(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Settings(artifact=artifact.path))

    def check_deadline(seconds: float, images: int = 1) -> None:
        request, quota = Request({"type": "http"}), BodyQuota(Admission(1, 1), "me")
        context = RequestContext(request, service, service.current, quota, time.monotonic() + seconds)
        context.check_deadline(images)

    try:
        for _ in range(9):
            service.current.inference.throughput.record(10, 1.0)
        check_deadline(1.2)  # nothing waits: it is tried at any speed
        monkeypatch.setattr(DecodePool, "pending", 1)
        with pytest.raises(OverloadedError, match=r"queue too long: 2\.5 s of work pending") as refused:
            check_deadline(1.2)
        assert refused.value.retry_after == pytest.approx(2.5)
        check_deadline(3)
        with pytest.raises(OverloadedError):
            check_deadline(3, images=2)
        service.current.inference.throughput.record(1, 1000.0)  # the machine stood still for a moment
        check_deadline(3)
    finally:
        service.close()


def test_a_service_is_closed_when_no_request_holds_its_model(writable_service: Service) -> None:
    """A streamed original may still wait for a disk when the time for requests is over."""
    thread = threading.Thread(target=writable_service.close)
    with writable_service.hold_current() as loaded_model:
        thread.start()
        wait_until(lambda: not writable_service.searcher.is_alive)  # the searcher ends before its index is closed
        thread.join(0.2)
        assert loaded_model.inference.is_alive
        assert not writable_service.closed
    thread.join(20)
    assert writable_service.closed
    assert not loaded_model.inference.is_alive


def test_a_reload_that_is_stopped_leaves_the_index_open(
    writable_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "_warm_up", lambda _: writable_service.stop_reloads())
    closed, close = threading.Event(), LoadedModel._close

    def note_close(model: LoadedModel) -> None:
        close(model)
        closed.set()

    try:
        with monkeypatch.context() as noted:
            noted.setattr(LoadedModel, "_close", note_close)
            with pytest.raises(ReloadError, match="stopping"):
                asyncio.run(writable_service.reload())
            assert closed.wait(20)  # the rejected model, in a thread
        assert writable_service.current.require_index().entry(1).id == 1
    finally:
        writable_service.close()


def test_when_a_refused_client_may_try_again(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(Settings(artifact=artifact.path, request_timeout=20))
    try:
        for _ in range(9):
            service.current.inference.throughput.record(10, 1.0)
        assert service.suggest_retry_after() == 1
        monkeypatch.setattr(FairSemaphore, "num_waiting", 4)
        assert service.suggest_retry_after() == pytest.approx(4)
        monkeypatch.setattr(DecodePool, "pending", 1000)
        assert service.suggest_retry_after() == 20
    finally:
        service.close()


def test_nobody_waits_once_a_shutdown_is_over(writable_service: Service) -> None:
    try:
        quota, deadline = BodyQuota(Admission(1, 1), "me"), time.monotonic() + 60
        request = Request({"type": "http"})
        context = RequestContext(request, writable_service, writable_service.current, quota, deadline)
        assert not context.deadline_passed()
        writable_service.shutdown_deadline = time.monotonic() - 1
        assert context.deadline_passed()
    finally:
        writable_service.close()
