"""The access log: one line per request. Also records the request's metrics and sends `Server-Timing`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.addresses import route_path
from server.middleware.response_headers import with_headers
from server.observability.metrics import Metrics
from server.observability.timing import Timings
from server.responses.error_handlers import CLIENT_CLOSED_REQUEST

logger = logging.getLogger(__name__)

ROUTINE_PATHS = re.compile(
    r"/|/favicon\.ico|/(page|docs)(/.*)?|/openapi\.json|/images/[0-9]+/thumbnail|/live|/ready|/metrics"
    r"|/v2/health/(live|ready)"
)
"""Files of the web page and the API reference, thumbnails, health checks, metrics: requested often."""
PLAIN_VALUE = re.compile(r"[A-Za-z0-9._~/:@%+,;*-]+")


class AccessLogMiddleware:
    """Measures, counts and logs every request; needs RequestIdMiddleware outside of it.

    `scope["timings"]` collects the time of each phase.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["timings"] = timings = Timings()
        method = scope["method"]
        status = CLIENT_CLOSED_REQUEST  # until a response begins

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            timed = with_headers(send_noting_status, lambda: [(b"server-timing", timings.header())])
            await self.app(scope, receive, timed)
        finally:
            code = scope.get("error_code", "")
            self.metrics.observe_request(getattr(scope.get("route"), "path", "other"), status, code, timings)
            log_request(scope, method, status, timings.seconds | {"total": timings.total})


def level_of_request(method: str, route_path: str, status: int) -> int:
    """The log level of a request: ERROR for an internal error, DEBUG for a routine request, else INFO."""
    if status == 500:
        return logging.ERROR
    is_routine = method in ("GET", "HEAD") and status < 400 and ROUTINE_PATHS.fullmatch(route_path)
    return logging.DEBUG if is_routine else logging.INFO


def log_request(scope: Scope, method: str, status: int, seconds: Mapping[str, float]) -> None:
    """Log one request. `method`: as it was sent, since the scope has GET for HEAD. `seconds`: by phase."""
    level = level_of_request(method, route_path(scope), status)
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, object] = {"method": method, "path": scope["path"], "status": status}
    optional = {"code": scope.get("error_code"), "trace_id": scope["trace_id"]}
    fields |= {name: value for name, value in optional.items() if value}
    fields |= {f"{phase}_ms": round(1000 * value, 1) for phase, value in seconds.items()}
    fields["request_id"] = scope["request_id"]
    text = " ".join(f"{name}={_quote(value)}" for name, value in fields.items())
    logger.log(level, "request %s", text, extra=fields)


def _quote(value: object) -> str:
    """A value for the text log, quoted as in JSON if it could be taken for other fields."""
    text = str(value)
    return text if PLAIN_VALUE.fullmatch(text) else json.dumps(text)
