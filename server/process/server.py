"""uvicorn's server, which reloads on SIGHUP, and on SIGTERM stops in bounded time without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from server.connections.listening import listen
from server.exceptions import ReloadError
from server.observability.log_output import flush_logs
from server.process.signals import Signals
from server.service import Service

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""Time for threads and files to close after the last response."""
LISTEN_BACKLOG = 2048
ACCEPT_BATCH_SIZE = 32
"""Connections that are accepted before any of them is handled: too many would exceed the limit of open files."""
FILE_LIMIT_ERRORS = (errno.EMFILE, errno.ENFILE)
FILE_LIMIT_LOG_SECONDS = 10.0


class DrainingServer(uvicorn.Server):
    """On SIGTERM or Ctrl-C `/ready` returns 503, so that a load balancer sends no more requests.

    After `drain_seconds` the listener closes, and accepted requests have `shutdown_timeout` to finish. A second signal
    ends the process.
    """

    def __init__(self, config: uvicorn.Config, service: Service, signals: Signals) -> None:
        config.timeout_graceful_shutdown = math.ceil(service.settings.shutdown_timeout)
        config.backlog = ACCEPT_BATCH_SIZE
        super().__init__(config)
        self.service, self.signals = service, signals
        self._file_limit_logged = -math.inf

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replace uvicorn's own signal handling, which begins too late and treats a second signal differently."""
        self.signals.serve(self.stop, flush_logs)
        yield

    def stop(self) -> None:
        """Stop after `drain_seconds`; end the process in any case once the time for requests and threads is over."""
        self.service.draining = True
        settings = self.service.settings
        drain = settings.drain_seconds
        self.service.shutdown_deadline = time.monotonic() + drain + settings.shutdown_timeout
        last = drain + settings.shutdown_timeout + 2 * CLOSE_SECONDS
        for seconds, action in ((drain, self._close), (last, exit_immediately)):
            timer = threading.Timer(seconds, action)
            timer.daemon = True
            timer.start()

    def _close(self) -> None:
        logger.info("shutting down: finishing accepted requests first")
        self.should_exit = True

    async def startup(self, sockets: list[Any] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._handle_loop_error)
        self.signals.reload_with(self._reload)
        for listener in sockets or ():
            listen(listener, LISTEN_BACKLOG)  # another server may have begun to listen since the bind
        await super().startup(sockets)
        for listener in sockets or ():
            listen(listener, LISTEN_BACKLOG)  # again: asyncio has set the backlog to ACCEPT_BATCH_SIZE
        logger.info("accepting requests")

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self.service.listener_closed.set()
        await super().shutdown(sockets)

    def _reload(self) -> None:
        self._loop.call_soon_threadsafe(start_reload, self.service)

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log one line instead of thousands when no more files can be opened for connections."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in FILE_LIMIT_ERRORS):
            loop.default_exception_handler(context)
        elif time.monotonic() > self._file_limit_logged + FILE_LIMIT_LOG_SECONDS:
            self._file_limit_logged = time.monotonic()
            logger.error("too many open files: new connections wait; raise the limit (ulimit -n)")


def exit_immediately() -> None:
    """End the process although threads are busy; all acknowledged changes are on disk."""
    names = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
    logger.error(
        "the server did not stop in time; threads still running, some of them busy: %s; ending the process", names
    )
    flush_logs()
    os._exit(1)


def start_reload(service: Service) -> None:
    """Reload in the background. If that fails, the log has the error, and the current model keeps serving."""

    async def reload() -> None:
        with contextlib.suppress(ReloadError):
            await service.reload()

    task = asyncio.get_running_loop().create_task(reload())
    service.background.add(task)
    task.add_done_callback(service.background.discard)


async def close_service(service: Service) -> None:
    """Close a service. If its threads are still busy after CLOSE_SECONDS, it isn't `closed` yet."""
    service.stop_reloads()
    thread = threading.Thread(target=service.close, name="close", daemon=True)
    thread.start()
    deadline = time.monotonic() + CLOSE_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
