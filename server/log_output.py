"""The log's output: lines wait in a bounded queue for a thread that writes them, so that no reader stops the server.

A pipe that nobody reads, or a slow disk, costs lines: they are counted, in the log itself when it goes on and in the
metric `alexnet_dropped_log_lines`.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time

MAX_LINES = 10_000
FLUSH_SECONDS = 1.0


class QueuedHandler(logging.Handler):
    """Writes records to a file descriptor, in a thread."""

    def __init__(self, fd: int, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self.fd, self.num_dropped = fd, 0
        self._reported = 0
        self._lines: queue.Queue[str] = queue.Queue(max_lines)
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except queue.Full:
            self.num_dropped += 1

    def flush(self) -> None:
        """Wait until all lines are written, FLUSH_SECONDS at most."""
        end = time.monotonic() + FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write_lines(self) -> None:
        while True:
            line = self._lines.get()
            self._write(line)
            if self.num_dropped > self._reported and self._lines.empty():
                count, self._reported = self.num_dropped - self._reported, self.num_dropped
                message = f"{count} lines of the log were dropped: nobody read it"
                record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
                self._write(self.format(record) + "\n")
            self._lines.task_done()

    def _write(self, line: str) -> None:
        data = line.encode(errors="backslashreplace")
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                select.select([], [self.fd], [])
            except OSError:  # the reader has gone
                self.num_dropped += 1
                return


def num_dropped_lines() -> int:
    """Lines of the log that were dropped."""
    return sum(h.num_dropped for h in logging.getLogger().handlers if isinstance(h, QueuedHandler))


def flush_logs() -> None:
    """Wait until the log is written, a second at most."""
    for handler in logging.getLogger().handlers:
        handler.flush()
