"""Images that a browser caches but revalidates each time, since the same id is another image in another index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import WithJsonSchema

from server.request_context import RequestContext

IfNoneMatch = Annotated[
    list[str] | None,  # the values of all headers of this name, each of which may list several
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
    Header(description="ETags that the client already has."),
]
CACHED_RESPONSES: dict[int | str, dict[str, Any]] = {304: {"description": "The client already has it."}}


async def send_cached(
    context: RequestContext,
    image_id: int,
    if_none_match: list[str] | None,
    make: Callable[[], Awaitable[Response]],
    variant: str = "",
) -> Response:
    """The response of `make` with an ETag, or 304 for a client that has it already (RFC 9110, 13.1.2).

    The ETag is the checksum of the indexed bytes, plus `variant`: whatever else the content depends on.
    """
    sha256 = await context.run(context.read_index(lambda index: index.catalog.sha256(image_id)))
    tag = f'"{sha256}{variant}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": tag}
    known = {name.strip().removeprefix("W/") for name in ",".join(if_none_match or ()).split(",")}
    response = None if tag in known else await make()
    if response is None or "*" in known:  # "*" matches whatever exists: `make` raises if nothing does
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
