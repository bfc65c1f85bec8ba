"""Logs, in text or JSON, and the access log: one line per request."""

from __future__ import annotations

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

logger = logging.getLogger(__name__)


def make_formatter(form: Literal["text", "json"]) -> logging.Formatter:
    """Text: level and message. JSON: one object per line, with the fields of a request beside its message."""
    if form == "text":
        return logging.Formatter("%(levelname)s %(message)s")
    return JsonFormatter("%(levelname)s %(message)s", rename_fields={"levelname": "level"}, timestamp="time")


def configure_logging(form: Literal["text", "json"], level: str = "INFO") -> None:
    """Send all logs, uvicorn's too, to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(make_formatter(form))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        uvicorn_logger = logging.getLogger(name)
        uvicorn_logger.handlers = []
        uvicorn_logger.propagate = name != "uvicorn.access"  # this module logs requests, with their ids


def log_request(
    method: str, path: str, status: int, code: str, request_id: str, trace_id: str, seconds: dict[str, float]
) -> None:
    """Write the line of one request. `seconds`: by phase."""
    fields: dict[str, object] = {"method": method, "path": path, "status": status}
    fields |= {name: value for name, value in (("code", code), ("trace_id", trace_id)) if value}
    fields |= {f"{phase}_ms": round(1000 * value, 1) for phase, value in seconds.items()}
    fields["request_id"] = request_id
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    text = text.encode("unicode_escape").decode()  # a path may contain a line break
    logger.log(logging.ERROR if status == 500 else logging.INFO, "request %s", text, extra=fields)
