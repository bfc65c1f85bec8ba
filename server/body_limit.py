"""Bodies of small JSON, read by the framework before any key is asked for: bounded in size and time as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.uploads import BodyTooLargeError, SlowBodyError

MOST_BYTES = 16_384


class BoundedChanges:
    """Raises BodyTooLargeError or SlowBodyError to whoever reads the body of a PATCH."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "PATCH":
            receive = aiter(self._bounded(receive)).__anext__
        await self.app(scope, receive, send)

    async def _bounded(self, receive: Receive) -> AsyncIterator[Message]:
        read, more, end = 0, True, asyncio.get_running_loop().time() + self.seconds
        while more:
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise SlowBodyError(f"expected the whole body within {self.seconds:g} seconds") from None
            read, more = read + len(message.get("body", b"")), message.get("more_body", False)
            if read > MOST_BYTES:
                raise BodyTooLargeError(f"expected a body of at most {MOST_BYTES:,} bytes, found more")
            yield message
        while True:
            yield await receive()
