"""Shutdown during a reload: the model that was being loaded is closed, too."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
import uvicorn

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.exceptions import ReloadError
from server.process.server import CLOSE_SECONDS, DrainingServer, close_service
from server.process.signals import Signals
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until


@pytest.mark.parametrize("reloads", [1, 2])
def test_a_stop_during_a_reload_closes_both_models(artifact: Artifact, reloads: int) -> None:
    before = set(threading.enumerate())

    async def stop_while_loading() -> bool:
        service = Service(Settings(artifact=artifact.path))
        current = service.current
        tasks = []
        for _ in range(reloads):
            tasks.append(asyncio.create_task(service.reload()))
            await asyncio.sleep(0)  # the first is loading, the second waits for it
            await asyncio.sleep(0)
        await close_service(service)
        closed = service.closed
        for task in tasks:
            with pytest.raises(ReloadError, match="stopping"):
                await task
        assert service.current is current
        return closed

    assert asyncio.run(stop_while_loading())
    wait_until(lambda: {thread.name for thread in set(threading.enumerate()) - before if not thread.daemon} == set())


def test_accepted_requests_have_their_time_after_the_draining(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[float] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, action: Callable[[], None]) -> None:
            timers.append(seconds)

        def start(self) -> None:
            assert self.daemon  # it must not keep the process alive

    monkeypatch.setattr(threading, "Timer", Timer)
    service = Service(Settings(artifact=artifact.path, drain_seconds=7, shutdown_timeout=20))
    try:
        begun = time.monotonic()
        DrainingServer(uvicorn.Config(create_app(service)), service, Signals()).stop()
        assert service.draining
        assert begun + 27 <= service.shutdown_deadline <= time.monotonic() + 27
        assert timers == [7, 27 + 2 * CLOSE_SECONDS]
    finally:
        service.close()
