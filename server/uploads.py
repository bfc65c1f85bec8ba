"""The images of a request: the multipart fields `image`, or the whole body. Bounded in size and time as they come."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from model.exceptions import AlexNetError
from server.admission import Body
from server.api_keys import ForbiddenError
from server.loaded_model import Serving
from server.service import Service
from server.timing import Phases, phases_of
from server.workers.inference import DeadlineError

T = TypeVar("T")

FIELD = "image"
CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
TIMEOUT_HEADER = "X-Request-Timeout"

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
                            "description": "An image file, or several.",
                        }
                    },
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


ServiceDep = Annotated[Service, Depends(service_of)]


async def require_read(request: Request, service: ServiceDep) -> None:
    """Let in who may read: any key, or everybody where there are none."""
    service.keys.require("read", request.headers.get("authorization"), request.headers.get("x-api-key"))


async def require_write(request: Request, service: ServiceDep) -> None:
    """Let in who may change the index; everybody where there are no keys."""
    service.keys.require("write", request.headers.get("authorization"), request.headers.get("x-api-key"))


async def require_admin(request: Request, service: ServiceDep) -> None:
    """Let in who may administrate; nobody where there are no keys."""
    if not service.keys:
        raise ForbiddenError("expected a server with keys for this call, found none: use SIGHUP")
    service.keys.require("admin", request.headers.get("authorization"), request.headers.get("x-api-key"))


async def serving_of(service: ServiceDep) -> AsyncGenerator[Serving, None]:
    """What is served now, for the whole of a request."""
    with service.serving() as serving:
        yield serving


ServingDep = Annotated[Serving, Depends(serving_of)]
ImageId = Annotated[int, Path(ge=1, le=2**63 - 1, description="As answers name it.")]


@dataclass(frozen=True)
class Upload:
    """The images' bytes and other form fields of an admitted request, until when (time.monotonic) it is to be
    answered, and its times."""

    request: Request
    images: list[bytes]
    fields: dict[str, list[str]]
    deadline: float
    phases: Phases

    @property
    def image(self) -> bytes:
        """The only one. Raises InvalidBodyError."""
        if len(self.images) > 1:
            raise InvalidBodyError(f"expected one image, found {len(self.images)}")
        return self.images[0]

    async def answered(self, work: Awaitable[T]) -> T:
        """As `answered` says."""
        return await answered(self.request, self.deadline, work)


async def answered(request: Request, deadline: float, work: Awaitable[T]) -> T:
    """The result of `work`, given up when the time is over (DeadlineError) or the client has left."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait({task, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise DeadlineError("expected to be done in time, found the time over: ask for more, or try again later")
    finally:
        task.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    """Returns when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _deadline(request: Request, most: float) -> float:
    wish = request.headers.get(TIMEOUT_HEADER)
    try:
        seconds = most if wish is None else float(wish)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidBodyError(f"expected seconds above 0 in {TIMEOUT_HEADER}, found {wish!r}")
    return time.monotonic() + min(seconds, most)


async def _bounded(request: Request, limit: int, body: Body) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise BodyTooLargeError(f"expected a body of at most {limit:,} bytes, found more")
    async for chunk in request.stream():
        body.add(len(chunk))
        if body.bytes > limit:
            raise BodyTooLargeError(f"expected a body of at most {limit:,} bytes, found more")
        yield chunk


async def upload(request: Request, service: ServiceDep) -> AsyncGenerator[Upload, None]:
    """The images of a request that counts as in work until it is answered.

    Raises OverloadedError, SlowBodyError, BodyTooLargeError or InvalidBodyError.
    """
    deadline = _deadline(request, service.settings.max_seconds)
    service.require_time(deadline)
    with service.admission.request() as body:
        try:
            async with asyncio.timeout(service.settings.max_body_seconds):
                images, fields = await _images(request, service, body)
        except TimeoutError:
            seconds = service.settings.max_body_seconds
            raise SlowBodyError(
                f"expected the whole body within {seconds:g} seconds, found only a part of it"
            ) from None
        service.require_time(deadline, len(images))
        yield Upload(request, images, fields, deadline, phases_of(request.scope))


async def _images(request: Request, service: Service, body: Body) -> tuple[list[bytes], dict[str, list[str]]]:
    stream, most = _bounded(request, service.settings.max_body_bytes, body), service.settings.max_images
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return [b"".join([chunk async for chunk in stream])], {}
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.lower() not in CHARSETS:  # names are decoded beside every other request: some codecs take their time
        raise InvalidBodyError(f"expected a multipart body in UTF-8, found one in {charset[:40]!r}")
    try:
        form = await MultiPartParser(request.headers, stream, max_files=most, max_fields=4 * most).parse()
    except (MultiPartException, KeyError) as error:
        reason = getattr(error, "message", "the boundary is missing")
        raise InvalidBodyError(
            f"expected up to {most} images in the multipart field '{FIELD}', found: {reason}"
        ) from error
    try:
        files = form.getlist(FIELD)
        if not files:
            found = ", ".join(sorted(form)) or "no field"
            raise InvalidBodyError(f"expected an image file in the multipart field '{FIELD}', found {found[:80]}")
        if not all(isinstance(file, UploadFile) for file in files):
            raise InvalidBodyError(f"expected a file in the field '{FIELD}', found text (curl: -F {FIELD}=@FILE)")
        fields = {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in form}
        return [await file.read() for file in files if isinstance(file, UploadFile)], fields
    finally:
        await form.close()


async def admitted(request: Request, service: ServiceDep) -> AsyncGenerator[float, None]:
    """A request without images, in work until it is answered: by when. Raises OverloadedError or InvalidBodyError."""
    with service.admission.request():
        yield _deadline(request, service.settings.max_seconds)


UploadDep = Annotated[Upload, Depends(upload)]
DeadlineDep = Annotated[float, Depends(admitted)]
