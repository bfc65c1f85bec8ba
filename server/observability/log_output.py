"""The log: its format, text or JSON, and its output.

Lines wait in a bounded queue for a thread that writes them, so that a slow reader can't stop the server. If nobody
reads a pipe, or a disk is slow, lines are dropped. Their number is in the log itself, once it resumes, and in the
metric `alexnet_dropped_log_lines`.
"""

from __future__ import annotations

import copy
import logging
import os
import queue
import select
import sys
import threading
import time
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

LogLevel = Literal["debug", "info", "warning", "error"]
"""The least severe level that is logged."""
MAX_LINES = 10_000
FLUSH_SECONDS = 1.0


class TextFormatter(logging.Formatter):
    """Level and message. Every unindented line begins a record: line breaks in messages are escaped, tracebacks
    indented."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        own = copy.copy(record)
        own.exc_text = None  # text cached by another handler isn't indented
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _escape(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {_escape(line)}" for line in text.splitlines())


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def make_formatter(form: Literal["text", "json"]) -> logging.Formatter:
    """Text: level and message. JSON: one object per line, with a request's fields beside the message."""
    if form == "text":
        return TextFormatter()
    return JsonFormatter("%(levelname)s %(message)s", rename_fields={"levelname": "level"}, timestamp="time")


class QueuedHandler(logging.Handler):
    """Writes records to a file descriptor, in a thread."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd, self.num_dropped = fd, 0
        self._reported = 0
        self._lines: queue.Queue[str] = queue.Queue(MAX_LINES)
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # its arguments don't fit; the caller must not fail
            line = self._format_own(
                logging.ERROR, f"{record.pathname}:{record.lineno}: a log message can't be formatted: {error!r}"
            )
        try:
            self._lines.put_nowait(line + "\n")
        except queue.Full:
            self.num_dropped += 1

    def flush(self) -> None:
        """Wait until all lines are written, for at most FLUSH_SECONDS."""
        end = time.monotonic() + FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write_lines(self) -> None:
        while True:
            line = self._lines.get()
            self._write(line)
            if self.num_dropped > self._reported and self._lines.empty():
                count, self._reported = self.num_dropped - self._reported, self.num_dropped
                message = f"{count} log lines were dropped: they couldn't be written"
                self._write(self._format_own(logging.WARNING, message) + "\n")
            self._lines.task_done()

    def _format_own(self, level: int, message: str) -> str:
        """A line about the log itself."""
        return self.format(logging.LogRecord(__name__, level, __file__, 0, message, None, None))

    def _write(self, line: str) -> None:
        data = line.encode(errors="backslashreplace")
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                select.select([], [self.fd], [])
            except OSError:  # the reader is gone
                self.num_dropped += 1
                return


def configure_logging(form: Literal["text", "json"], level: LogLevel) -> None:
    """Send all logs, uvicorn's too, to standard error in one format.

    uvicorn's messages about its start and end are logged at `debug` only: `server.run` says the same in one line.
    Pillow's `debug` messages aren't logged: they show the content of images, in many lines for each.
    """
    handler = QueuedHandler(sys.stderr.fileno())
    handler.setFormatter(make_formatter(form))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("PIL").setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        uvicorn_logger = logging.getLogger(name)
        uvicorn_logger.handlers = []
        uvicorn_logger.propagate = name != "uvicorn.access"  # the middleware logs requests, with their ids
        uvicorn_logger.setLevel(logging.WARNING if level == "info" else logging.NOTSET)
    # clients' mistakes already have a line in the access log
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != "Invalid HTTP request received.")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def num_dropped_lines() -> int:
    """Number of log lines that were dropped."""
    return sum(h.num_dropped for h in logging.getLogger().handlers if isinstance(h, QueuedHandler))


def flush_logs() -> None:
    """Wait until the log is written, for at most a second."""
    for handler in logging.getLogger().handlers:
        handler.flush()
