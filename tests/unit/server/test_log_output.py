"""The log's output: a pipe that nobody reads stops nothing, and what it costs is said."""

from __future__ import annotations

import logging
import os
import time

from server.access_log import make_formatter
from server.log_output import QueuedHandler
from tests.helpers.polling import wait_until


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, __file__, 1, message, None, None)


def test_a_pipe_that_nobody_reads() -> None:
    read_end, write_end = os.pipe()
    handler = QueuedHandler(write_end, max_lines=100)
    handler.setFormatter(make_formatter("text"))
    begun = time.monotonic()
    for _ in range(1000):
        handler.emit(record("x" * 1000))
    assert time.monotonic() - begun < 2
    assert 700 < handler.num_dropped < 1000
    text = b""

    def read() -> bool:
        nonlocal text
        text += os.read(read_end, 1_000_000)
        return b"dropped" in text

    wait_until(read)
    lines = text.decode().splitlines()
    assert lines[-1] == f"WARNING {handler.num_dropped} lines of the log were dropped: nobody read it"
    assert len(lines) - 1 + handler.num_dropped == 1000
    handler.emit(record("on"))
    handler.flush()
    assert os.read(read_end, 1000) == b"INFO on\n"
    os.close(read_end)
    handler.emit(record("gone"))
    handler.flush()
    assert handler.num_dropped > 700
    os.close(write_end)


def test_flush_waits_for_a_while_only(monkeypatch: object) -> None:
    read_end, write_end = os.pipe()
    handler = QueuedHandler(write_end)
    handler.setFormatter(make_formatter("json"))
    for _ in range(500):
        handler.emit(record("x" * 1000))
    begun = time.monotonic()
    handler.flush()
    assert time.monotonic() - begun < 3
    os.close(read_end)
