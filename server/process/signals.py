"""Signals, from the first moment of the process to its last: SIGTERM and Ctrl-C stop it, SIGHUP reloads.

A process with the id 1, as in a container, has no default signal actions: without handlers, it can't be stopped. This
module imports nothing from the server, so that the handlers are installed before the server is loaded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """The handlers of this process; only its main thread can install them.

    Before `serve`, the first stop signal ends the process; before `reload_with`, a SIGHUP is remembered.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._before_exit: Callable[[], None] = lambda: None
        self._hangup = self._stopping = False

    def install(self) -> None:
        """Handle signals from now on."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle_stop)
        signal.signal(signal.SIGHUP, self._handle_hangup)

    def serve(self, stop: Callable[[], None], before_exit: Callable[[], None]) -> None:
        """From now on the first stop signal calls `stop`. The second ends the process, after `before_exit`."""
        self._stop, self._before_exit = stop, before_exit

    def reload_with(self, reload: Callable[[], None]) -> None:
        """Call `reload` at each SIGHUP from now on, and for one that came before."""
        self._reload = reload
        if self._hangup:
            reload()

    def _handle_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop is None or self._stopping:
            self._before_exit()
            with suppress(OSError):
                os.write(2, b"" if self._stopping else b"stopped\n")
            os._exit(128 + number)  # a normal exit would wait for busy threads
        self._stopping = True
        self._stop()

    def _handle_hangup(self, number: int, frame: FrameType | None) -> None:
        self._hangup = True
        if self._reload is not None:
            self._reload()
