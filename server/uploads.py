"""Uploaded images: the multipart field `image`, or the whole body, read within limits of bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from server.exceptions import BodyTooLargeError, InvalidBodyError, RequestTimeoutError
from server.limits import BodyQuota

FIELD = "image"
CHARSETS = (b"utf-8", b"utf8", b"us-ascii")

OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "One or more image files.",
                        }
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class Upload:
    """The bytes of a request's images, and the text fields of its form."""

    images: list[bytes]
    fields: dict[str, list[str]] = field(default_factory=dict)

    @property
    def image(self) -> bytes:
        """The only image. Raises InvalidBodyError if there are several."""
        if len(self.images) > 1:
            raise InvalidBodyError(f"{len(self.images)} images sent: this endpoint takes one")
        return self.images[0]


async def read_upload(request: Request, quota: BodyQuota, timeout: float, max_bytes: int, max_images: int) -> Upload:
    """The images of a request, whose body must arrive within `timeout` seconds.

    Raises RequestTimeoutError, BodyTooLargeError, InvalidBodyError, or OverloadedError.
    """
    stream = _limit_bytes(request, max_bytes, quota)
    try:
        async with asyncio.timeout(timeout):
            if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return Upload([b"".join([chunk async for chunk in stream])])
            return await _read_form(request, stream, max_images)
    except TimeoutError:
        raise RequestTimeoutError(f"request body not received within {timeout:g} s") from None


async def _limit_bytes(request: Request, max_bytes: int, quota: BodyQuota) -> AsyncGenerator[bytes, None]:
    message = f"request body too large: the limit is {max_bytes:,} bytes"
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise BodyTooLargeError(message)
    async for chunk in request.stream():
        quota.add(len(chunk))
        if quota.bytes > max_bytes:
            raise BodyTooLargeError(message)
        yield chunk


async def _read_form(request: Request, stream: AsyncGenerator[bytes, None], max_images: int) -> Upload:
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.lower() not in CHARSETS:  # names are decoded on the event loop, and some codecs are slow
        raise InvalidBodyError(f"unsupported charset {charset[:40]!r}: send the multipart body in UTF-8")
    try:
        parser = MultiPartParser(request.headers, stream, max_files=max_images, max_fields=4 * max_images)
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        reason = getattr(error, "message", "the boundary is missing")
        raise InvalidBodyError(
            f"invalid multipart body: {reason.rstrip('.')}; send up to {max_images} images in the field '{FIELD}'"
        ) from error
    try:
        return await _read_fields(form)
    finally:
        await form.close()


async def _read_fields(form: FormData) -> Upload:
    files = form.getlist(FIELD)
    if not files:
        fields = ", ".join(sorted(form))[:80] or "no field"
        raise InvalidBodyError(f"the multipart field '{FIELD}' is missing; the body has {fields}")
    if not all(isinstance(file, UploadFile) for file in files):
        raise InvalidBodyError(f"the field '{FIELD}' is text: send a file (curl: -F {FIELD}=@FILE)")
    texts = {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in form}
    return Upload([await file.read() for file in files if isinstance(file, UploadFile)], texts)
