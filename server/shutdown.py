"""Signals. SIGTERM stops without losing a request: not ready first, still serving for a while, then finish what is
accepted. SIGHUP reloads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

from server.service import Service


class DrainingServer(uvicorn.Server):
    """On SIGTERM or Ctrl-C: `/ready` answers 503, so that a balancer sends no more; after `drain_seconds` the listener
    closes, and what was accepted is finished. A second signal doesn't wait."""

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
def hears_hangup(service: Service) -> Iterator[None]:
    """Reload on SIGHUP, while the event loop of the main thread runs; elsewhere signals aren't heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, under_way = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        with contextlib.suppress(Exception):  # it is in the log, and what was served stays
            await service.reload()

    def hear() -> None:
        task = loop.create_task(reload())
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
