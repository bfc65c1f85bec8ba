"""Images that a browser keeps and asks about each time: the id of an image is another one in another index."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Response

IfNoneMatch = Annotated[str | None, Header(description="ETags of what the client has already.")]
CACHED_RESPONSES: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already."}}


def cache_headers(tag: str) -> dict[str, str]:
    """Headers of a response whose content is named by `tag`, such as a checksum."""
    return {"Cache-Control": "private, no-cache", "ETag": f'"{tag}"'}


def not_modified(tag: str, if_none_match: str | None) -> Response | None:
    """The response to a client that has the content `tag` already, by its header If-None-Match (RFC 9110, 13.1.2)."""
    tags = [name.strip().removeprefix("W/") for name in (if_none_match or "").split(",")]
    return Response(status_code=304, headers=cache_headers(tag)) if {"*", f'"{tag}"'} & set(tags) else None
