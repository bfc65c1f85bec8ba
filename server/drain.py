"""Stopping without losing a request: not ready first, still serving for a while, then finish what is accepted."""

from __future__ import annotations

import threading
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
