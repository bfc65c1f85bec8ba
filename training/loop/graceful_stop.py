"""Graceful stop: SIGINT and SIGTERM set a flag that is checked between steps; a second SIGINT stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

STDERR = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = b"stopping after this step and saving a checkpoint\n"


class GracefulStop:
    """While the context lasts, a signal sets `requested`. Signals reach only the main thread."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # not print or tqdm: the signal may have interrupted one, and their buffer refuses a nested write
        with suppress(OSError):
            os.write(STDERR, b"\n" + MESSAGE if os.isatty(STDERR) else MESSAGE)  # on a terminal, below the progress bar


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """In this context SIGTERM raises KeyboardInterrupt, as Ctrl-C does, except inside a `GracefulStop`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
