"""Signals: SIGTERM drains and stops without losing a request, SIGHUP reloads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

from server.exceptions import ReloadError
from server.service import Service


class DrainingServer(uvicorn.Server):
    """On SIGTERM or Ctrl-C `/ready` returns 503, so that a load balancer sends no more requests.

    After `drain_seconds` the listener closes, and accepted requests are finished. A second signal doesn't wait.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            super().handle_exit(sig, frame)
        elif self.service.draining:
            self.should_exit = True
        else:
            self.service.draining = True
            timer = threading.Timer(self.service.settings.drain_seconds, self._close)
            timer.daemon = True
            timer.start()

    def _close(self) -> None:
        self.should_exit = True


@contextlib.contextmanager
def reload_on_sighup(service: Service) -> Iterator[None]:
    """Reload on SIGHUP while the event loop of the main thread runs; other threads can't receive signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        with contextlib.suppress(ReloadError):  # it is in the log, and the current model keeps serving
            await service.reload()

    def start_reload() -> None:
        task = loop.create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, start_reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
