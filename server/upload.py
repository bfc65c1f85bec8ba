"""The picture of a request: the multipart field `image`, or the whole body. Bounded while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from model.errors import AlexNetError
from server.service import Service

FIELD = "image"

OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary", "description": "A picture file."}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class BodyTooLargeError(AlexNetError):
    """The request's body has more bytes than the server takes."""


class SlowBodyError(AlexNetError):
    """The request's body didn't come in time."""


class InvalidBodyError(AlexNetError):
    """The request's body isn't what the call expects."""


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


PictureId = Annotated[int, Path(ge=1, le=2**63 - 1, description="As answers name it.")]
ServiceDep = Annotated[Service, Depends(service_of)]


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    total = 0
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise BodyTooLargeError(f"expected a body of at most {limit:,} bytes, found more")
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise BodyTooLargeError(f"expected a body of at most {limit:,} bytes, found more")
        yield chunk


async def image_bytes(request: Request, service: ServiceDep) -> AsyncGenerator[bytes, None]:
    """The picture's bytes, of a request that counts as in work until it is answered.

    Raises OverloadedError, SlowBodyError, BodyTooLargeError or InvalidBodyError.
    """
    with service.admitted():
        try:
            async with asyncio.timeout(service.settings.max_body_seconds):
                data = await _body(request, service)
        except TimeoutError:
            seconds = service.settings.max_body_seconds
            raise SlowBodyError(
                f"expected the whole body within {seconds:g} seconds, found only a part of it"
            ) from None
        yield data


async def _body(request: Request, service: Service) -> bytes:
    stream = _bounded(request, service.settings.max_body_bytes)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return b"".join([chunk async for chunk in stream])
    try:
        form = await MultiPartParser(request.headers, stream, max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:  # ValueError: a charset that Python refuses
        reason = getattr(error, "message", "the boundary is missing")
        raise InvalidBodyError(f"expected one picture in the multipart field '{FIELD}', found: {reason}") from error
    try:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            if FIELD in form:
                raise InvalidBodyError(f"expected a file in the field '{FIELD}', found text (curl: -F {FIELD}=@FILE)")
            fields = ", ".join(sorted(form)) or "no field"
            raise InvalidBodyError(f"expected a picture file in the multipart field '{FIELD}', found {fields}")
        return await upload.read()
    finally:
        await form.close()


ImageBytes = Annotated[bytes, Depends(image_bytes)]
