"""The log: a line a request, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

log = logging.getLogger("alexnet.server")


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a record brings as `facts` stands beside its message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in getattr(record, "facts", {}).items())
        facts = facts.encode("unicode_escape").decode()  # a path may have the end of a line in it
        return f"{super().format(record)} {facts}".rstrip()


def configure(form: Literal["text", "json"], level: str = "INFO") -> None:
    """Send all logs, uvicorn's too, to standard error in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name != "uvicorn.access"  # requests are logged by us, with their ids


def request_answered(
    method: str, path: str, status: int, code: str, request_id: str, seconds: dict[str, float]
) -> None:
    """One request's line."""
    facts: dict[str, object] = {"request_id": request_id, "method": method, "path": path, "status": status}
    if code:
        facts["code"] = code
    facts |= {f"{phase}_ms": round(1000 * value, 1) for phase, value in seconds.items()}
    log.log(logging.ERROR if status == 500 else logging.INFO, "request", extra={"facts": facts})
