"""Request ids, the client's or new ones, for the response, errors and the log."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.middleware.response_headers import with_headers

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
"""W3C Trace Context; the group is the trace id."""


class RequestIdMiddleware:
    """Gives a request the id of its `X-Request-ID`, or a new one, and returns it in the response.

    `scope["request_id"]` goes into errors and the log, `scope["trace_id"]` (from `traceparent`, else empty) into the
    log. An id with characters that REQUEST_ID doesn't allow, or longer than 128, is replaced.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"], scope["trace_id"] = read_ids(Headers(scope=scope))
        own = [(b"x-request-id", scope["request_id"].encode())]
        await self.app(scope, receive, with_headers(send, lambda: own))


def read_ids(headers: Headers) -> tuple[str, str]:
    """The request id and the trace id of a request."""
    given, trace = headers.get("x-request-id", ""), TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex, trace.group(1) if trace else ""
