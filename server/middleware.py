"""Middleware: request ids, security headers, and the access log with metrics and `Server-Timing`."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access_log import log_request
from server.addresses import route_path
from server.error_handlers import CLIENT_CLOSED_REQUEST, respond_to_error
from server.exceptions import INTERNAL_ERROR, HostNotAllowedError, OverloadedError
from server.metrics import Metrics
from server.security import AllowedHosts
from server.timing import Timings

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
"""W3C Trace Context; the group is the trace id."""

CONTENT_SECURITY_POLICY = (
    b"default-src 'self'; img-src 'self' blob:; object-src 'none'; form-action 'none'; frame-ancestors 'none'"
)
API_REFERENCE_POLICY = CONTENT_SECURITY_POLICY.replace(b"blob:", b"blob: data:")
"""Of the page at /docs: the icons of Swagger UI are data URLs in its style sheet."""
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

HEALTH = ("/live", "/ready")
HeaderList = list[tuple[bytes, bytes]]


class RequestIdMiddleware:
    """Gives a request the id of its `X-Request-ID`, or a new one, and returns it in the response.

    `scope["request_id"]` and `scope["trace_id"]` (of `traceparent`, else empty) go into errors and the log. An id of
    other characters, or longer than 128, is replaced.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        trace = TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        scope["request_id"] = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["trace_id"] = trace.group(1) if trace else ""
        own = [(b"x-request-id", scope["request_id"].encode())]
        await self.app(scope, receive, _with_headers(send, lambda: own))


class SecurityHeadersMiddleware:
    """Adds security headers to every response. `allow_embedding`: pages of any origin may show its images."""

    def __init__(self, app: ASGIApp, allow_embedding: bool) -> None:
        self.app = app
        self.resource_policy = b"cross-origin" if allow_embedding else b"same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def headers() -> HeaderList:
            return [*_security_headers(scope), (b"cross-origin-resource-policy", self.resource_policy)]

        await self.app(scope, receive, _with_headers(send, headers))


def _security_headers(scope: Scope) -> HeaderList:
    path, headers = route_path(scope), list(SECURITY_HEADERS)
    policy = API_REFERENCE_POLICY if path == "/docs" else CONTENT_SECURITY_POLICY
    base = b"'self'" if path == "/" and scope.get("root_path") else b"'none'"
    headers.append((b"content-security-policy", policy + b"; base-uri " + base))
    if path == "/" or path.startswith(("/page/", "/docs")):  # files of two versions of a page don't fit together
        headers.append((b"cache-control", b"no-cache"))
    return headers


class HostMiddleware:
    """Refuses requests whose Host header isn't known to be this server's, except for `/live` and `/ready`."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and route_path(scope) not in HEALTH:
            try:
                self.hosts.check(Request(scope))
            except HostNotAllowedError as error:
                app = respond_to_error(Request(scope), error)
        await app(scope, receive, send)


class _WatchedResponse:
    """Passes on what is sent. `has_begun`: whether anything was."""

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def send(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


class ShutdownMiddleware:
    """Answers with 503 a request that was cancelled because the time of a shutdown was over (`is_over`).

    A response that has begun is cut off.
    """

    def __init__(self, app: ASGIApp, is_over: Callable[[], bool]) -> None:
        self.app, self.is_over = app, is_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _WatchedResponse(send)
        try:
            await self.app(scope, receive, response.send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not self.is_over():
                raise
            if not response.has_begun:
                error = OverloadedError("the server is stopping: send the request again")
                await respond_to_error(Request(scope), error)(scope, receive, send)


class InternalErrorMiddleware:
    """Answers an exception that nothing else has answered. The framework raises others again, which end here.

    A response that has begun is cut off: the exception goes on to the HTTP server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _WatchedResponse(send)
        try:
            await self.app(scope, receive, response.send)
        except Exception as error:
            is_answered = response.has_begun and scope.get("error_code") == INTERNAL_ERROR.code
            if scope["type"] != "http" or (response.has_begun and not is_answered):
                raise
            if not is_answered:
                await respond_to_error(Request(scope), error)(scope, receive, send)


class HeadMiddleware:
    """Answers HEAD as GET without the body, wherever GET is. `scope["is_head"]` is for routes with large bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope["method"], scope["is_head"] = "GET", True
            await self.app(scope, receive, _without_body(send))
        else:
            await self.app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_without_body(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_without_body


class AccessLogMiddleware:
    """Measures, counts and logs every request; needs RequestIdMiddleware outside of it.

    `scope["timings"]` takes the time of each phase.
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
            timed = _with_headers(send_noting_status, lambda: [(b"server-timing", timings.header())])
            await self.app(scope, receive, timed)
        finally:
            code = scope.get("error_code", "")
            self.metrics.observe_request(getattr(scope.get("route"), "path", "other"), status, code, timings)
            log_request(scope, method, status, timings.seconds | {"total": timings.total})


def _with_headers(send: Send, headers: Callable[[], HeaderList]) -> Send:
    """`headers`: called when the response begins, as they may depend on what became of the request."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers()]
        await send(message)

    return send_with_headers
