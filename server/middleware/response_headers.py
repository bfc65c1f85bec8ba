"""Headers that middleware adds to a response."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Send

HeaderList = list[tuple[bytes, bytes]]


def with_headers(send: Send, headers: Callable[[], HeaderList]) -> Send:
    """Add headers to a response. `headers`: called when the response begins, as they may depend on the outcome."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers()]
        await send(message)

    return send_with_headers
