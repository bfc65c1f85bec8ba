"""Shutdown during a reload: the model that was being loaded is closed, too."""

from __future__ import annotations

import asyncio
import threading

import pytest

from model.artifacts.artifact import Artifact
from server.exceptions import ReloadError
from server.process.shutdown import close_service
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
