"""Logs, in text or JSON, and the access log: one line per request."""

from __future__ import annotations

import copy
import json
import logging
import re
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from server.log_output import QueuedHandler

logger = logging.getLogger(__name__)

LogLevel = Literal["debug", "info", "warning", "error"]
"""The least severe level that is logged."""
ROUTINE_PATHS = re.compile(
    r"/|/favicon\.ico|/(page|docs|redoc)(/.*)?|/openapi\.json|/images/[0-9]+/thumbnail|/live|/ready|/metrics"
    r"|/v2/health/(live|ready)"
)
"""Files of the web page and of the API's reference, thumbnails, health checks: each person or machine asks for many."""
PLAIN_VALUE = re.compile(r"[A-Za-z0-9._~/:@%+,;*-]+")


class TextFormatter(logging.Formatter):
    """Level and message. Only a record begins a line: breaks in messages are escaped, tracebacks indented."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        own = copy.copy(record)
        own.exc_text = None  # another handler's, which isn't indented
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _escape(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {_escape(line)}" for line in text.splitlines())


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def make_formatter(form: Literal["text", "json"]) -> logging.Formatter:
    """Text: level and message. JSON: one object per line, with the fields of a request beside its message."""
    if form == "text":
        return TextFormatter()
    return JsonFormatter("%(levelname)s %(message)s", rename_fields={"levelname": "level"}, timestamp="time")


def configure_logging(form: Literal["text", "json"], level: LogLevel = "info") -> None:
    """Send all logs, uvicorn's too, to standard error in one format.

    What uvicorn says of its start and its end is for `debug`: `server.run` says it in a line.
    """
    handler = QueuedHandler(sys.stderr.fileno())
    handler.setFormatter(make_formatter(form))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        uvicorn_logger = logging.getLogger(name)
        uvicorn_logger.handlers = []
        uvicorn_logger.propagate = name != "uvicorn.access"  # this module logs requests, with their ids
        uvicorn_logger.setLevel(logging.WARNING if level == "info" else logging.NOTSET)


def level_of_request(method: str, route_path: str, status: int) -> int:
    """The level of the line of a request: ERROR for an internal error, DEBUG for what is routine, else INFO."""
    if status == 500:
        return logging.ERROR
    is_routine = method in ("GET", "HEAD") and status < 400 and ROUTINE_PATHS.fullmatch(route_path)
    return logging.DEBUG if is_routine else logging.INFO


def log_request(
    level: int,
    method: str,
    path: str,
    status: int,
    code: str,
    request_id: str,
    trace_id: str,
    seconds: dict[str, float],
) -> None:
    """Write the line of one request. `seconds`: by phase."""
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, object] = {"method": method, "path": path, "status": status}
    fields |= {name: value for name, value in (("code", code), ("trace_id", trace_id)) if value}
    fields |= {f"{phase}_ms": round(1000 * value, 1) for phase, value in seconds.items()}
    fields["request_id"] = request_id
    text = " ".join(f"{name}={_quote(value)}" for name, value in fields.items())
    logger.log(level, "request %s", text, extra=fields)


def _quote(value: object) -> str:
    """A value of the text log: in quotes, as in JSON, where it could be taken for other fields."""
    text = str(value)
    return text if PLAIN_VALUE.fullmatch(text) else json.dumps(text)
