"""The log: no exception forges a line; a pipe that nobody reads stops nothing, and dropped lines are reported."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time

import pytest

from server.observability import log_output
from server.observability.log_output import QueuedHandler, make_formatter
from tests.helpers.polling import wait_until


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, __file__, 1, message, None, None)


def test_a_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_output, "MAX_LINES", 100)
    read_end, write_end = os.pipe()
    handler = QueuedHandler(write_end)
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
    assert lines[-1] == f"WARNING {handler.num_dropped} log lines were dropped: they couldn't be written"
    assert len(lines) - 1 + handler.num_dropped == 1000
    handler.emit(record("on"))
    handler.flush()
    assert os.read(read_end, 1000) == b"INFO on\n"
    os.close(read_end)
    handler.emit(record("gone"))
    handler.flush()
    assert handler.num_dropped > 700
    os.close(write_end)


def test_a_record_that_can_not_be_formatted_fails_no_request() -> None:
    read_end, write_end = os.pipe()
    handler = QueuedHandler(write_end)
    handler.setFormatter(make_formatter("text"))
    handler.emit(logging.LogRecord("a", logging.INFO, "decoder.py", 7, "%d images", ("many",), None))
    handler.emit(record("on"))
    handler.flush()
    first, second = os.read(read_end, 1000).decode().splitlines()
    assert first.startswith("ERROR decoder.py:7: a log message can't be formatted: TypeError")
    assert second == "INFO on"
    os.close(read_end)
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


def test_an_exception_is_in_the_json(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        logging.getLogger("server").error("failed", exc_info=error)
    line = json.loads(make_formatter("json").format(caplog.records[0]))
    assert "ValueError: why" in line["exc_info"]
    assert line["message"] == "failed"


def test_an_exception_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("why\nERROR forged\x1b[2J\rINFO forged")
    except ValueError as error:
        logging.getLogger("server").error("failed\nINFO forged", exc_info=error)
    lines = make_formatter("text").format(caplog.records[0]).splitlines()
    assert lines[0] == "ERROR failed\\nINFO forged"
    assert all(line.startswith("  ") and line.isprintable() for line in lines[1:])
    assert "  ERROR forged\\x1b[2J" in lines


DECODE = """
import io
from PIL import Image
from model.images.preprocess import decode_image
from server.observability.log_output import configure_logging, flush_logs
configure_logging("text", "debug")
for form in ("PNG", "TIFF"):
    Image.new("L", (8, 8)).save(file := io.BytesIO(), form)
    decode_image(file.getvalue())
flush_logs()
"""


def test_what_is_in_images_is_not_logged_for_debugging() -> None:
    process = subprocess.run([sys.executable, "-c", DECODE], capture_output=True, text=True, check=True)
    assert process.stderr == ""
