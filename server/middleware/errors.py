"""Errors that the framework doesn't handle: exceptions in middleware, and requests that a shutdown ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exceptions import INTERNAL_ERROR, OverloadedError
from server.responses.error_handlers import respond_to_error


class _WatchedResponse:
    """Passes messages on. `has_begun`: whether any was sent."""

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def send(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


class ShutdownMiddleware:
    """Answers 503 to a request that was cancelled because the time for a shutdown was over (`shutdown_expired`).

    A response that has begun is cut off.
    """

    def __init__(self, app: ASGIApp, shutdown_expired: Callable[[], bool]) -> None:
        self.app, self.shutdown_expired = app, shutdown_expired

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _WatchedResponse(send)
        try:
            await self.app(scope, receive, response.send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not self.shutdown_expired():
                raise
            if not response.has_begun:
                error = OverloadedError("the server is stopping: send the request again")
                await respond_to_error(Request(scope), error)(scope, receive, send)


class InternalErrorMiddleware:
    """Answers exceptions that nothing else has answered. Those that the framework has answered and re-raises end here.

    If a response has begun, it is cut off: the exception propagates to the HTTP server.
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
