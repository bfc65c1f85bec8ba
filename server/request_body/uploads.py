"""Uploaded images: the field `image` of a form or of JSON, or the whole body."""

from __future__ import annotations

import base64
import string
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from server.exceptions import InvalidBodyError, MissingBodyError
from server.limits.admission import BodyQuota
from server.parameters import check_names
from server.request_body.json_body import parse_json
from server.request_body.multipart import Part, check_text_bytes, parse_form

FIELD = "image"
MAX_FILE_NAME = 255
"""Maximum bytes of a text that is taken for a file name. No image is that short and printable."""
MAX_JSON_VALUES = 10_000
"""An image is one value, however long; the rest are parameters."""
BLANKS = string.whitespace.encode()

IMAGE_SCHEMA = {"type": "string", "contentEncoding": "base64", "description": "An image as base64 or as a data URL."}


def describe_body(required: bool = True) -> dict[str, Any]:
    """The OpenAPI description of a body with images; `required`: whether a request without images is refused."""
    names = {"required": [FIELD]} if required else {}
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "One or more image files. The parameters may also be fields.",
    }
    texts = {"anyOf": [IMAGE_SCHEMA, {"type": "array", "items": IMAGE_SCHEMA}]}
    file = {"schema": {"type": "string", "format": "binary"}}
    content = {
        "multipart/form-data": {"schema": {"type": "object", **names, "properties": {FIELD: files}}},
        "application/json": {
            "schema": {
                "type": "object",
                **names,
                "properties": {FIELD: texts},
                "description": "The parameters may also be members.",
            }
        },
        "image/*": file,
        "application/octet-stream": file,
    }
    return {"requestBody": {"required": required, "content": content}}


@dataclass(frozen=True)
class Upload:
    """The bytes of a request's images, and the parameters of its form or JSON."""

    images: list[bytes]
    fields: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of_body(cls, body: bytes) -> Upload:
        """The whole body as one image; no image if it is empty."""
        return cls([body] if body else [])

    @property
    def image(self) -> bytes:
        """The only image. Raises InvalidBodyError if there are several."""
        if len(self.images) > 1:
            raise InvalidBodyError(f"{len(self.images)} images sent: this endpoint takes one")
        return self.images[0]

    def require_images(self) -> None:
        """Raise MissingBodyError if there is no image, or a single empty one; among several, each has its own error."""
        if not self.images:
            raise MissingBodyError(
                f"no image was sent: send one as the field '{FIELD}' of a form (curl: -F {FIELD}=@FILE) or as the body"
            )
        if self.images == [b""]:
            raise MissingBodyError("the image is empty: its file has 0 bytes")


async def read_body(request: Request, quota: BodyQuota) -> bytes:
    """The body of a request. Raises OverloadedError, and what `BodyLimitMiddleware` raises."""
    return b"".join([chunk async for chunk in stream_body(request, quota)])


async def read_form(request: Request, quota: BodyQuota, max_images: int) -> list[Part]:
    """The parts of a request's form. Raises what `read_body` raises, InvalidBodyError, or InvalidHeaderError."""
    return await parse_form(request.headers["content-type"], stream_body(request, quota), FIELD, max_images)


def is_form(request: Request) -> bool:
    """Whether the body is a multipart form."""
    return _media_type(request) == "multipart/form-data"


def is_json(request: Request) -> bool:
    """Whether the body is JSON."""
    media_type = _media_type(request)
    return media_type.startswith("application/") and media_type.endswith(("/json", "+json"))


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_form_upload(parts: list[Part], known: Mapping[str, bool], max_images: int) -> Upload:
    """The images and the parameters of a form. `known`: names of parameters, and whether each may be repeated.

    Raises InvalidRequestError for an unknown field, or InvalidBodyError.
    """
    parts = [part for part in parts if not part.is_empty_input]
    check_names("form field", [part.name for part in parts], {**known, FIELD: True})
    images, texts = [part for part in parts if part.name == FIELD], [part for part in parts if part.name != FIELD]
    for part in images:
        if part.file_name is None and (name := _as_file_name(part.data)):
            if name.startswith(("http://", "https://")):
                raise InvalidBodyError(f"the field '{FIELD}' has a URL: download the image, and send the file")
            raise InvalidBodyError(
                f"the field '{FIELD}' has the text {name!r} instead of a file: curl sends a file as -F {FIELD}=@{name}"
            )
    check_text_bytes(sum(len(part.data) for part in texts), max_images)
    fields: dict[str, list[str]] = {}
    for part in texts:
        fields.setdefault(part.name, []).append(part.text)
    return Upload([bytes(part.data) for part in images], fields)


def _as_file_name(data: bytes | bytearray) -> str:
    """The text of a field that should have been a file, if it could be the file's name; else empty."""
    try:
        text = data[: MAX_FILE_NAME + 1].decode()
    except UnicodeDecodeError:
        return ""
    return text if len(data) <= MAX_FILE_NAME and text.isprintable() else ""


def parse_json_upload(body: bytes, known: Mapping[str, bool], max_images: int) -> Upload:
    """The images, as base64 or data URLs, and the parameters of a JSON object. Parsing is slow: run it in a thread.

    Raises InvalidRequestError for an unknown member, or InvalidBodyError.
    """
    document = parse_json(body, MAX_JSON_VALUES)
    check_names("JSON field", document, {**known, FIELD: True})
    texts = _as_list(document.pop(FIELD, None))
    if len(texts) > max_images:
        raise InvalidBodyError(f"too many images: send up to {max_images} in the field '{FIELD}'")
    fields = {name: [_as_text(name, item) for item in _as_list(value)] for name, value in document.items()}
    for name, values in fields.items():
        check_names("JSON field", [name] * len(values), known)
    return Upload([_decode_base64(text) for text in texts], {k: v for k, v in fields.items() if v})


def _as_list(value: Any) -> list[Any]:
    """A member as a list; null counts as not sent."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidBodyError(f"invalid JSON field '{name[:80]}': send text or a number")
    return str(value)


def _decode_base64(text: Any) -> bytes:
    if isinstance(text, str):
        data = text
        if text[:5].lower() == "data:":
            head, _, data = text.partition(",")
            if not head.lower().endswith(";base64"):
                raise InvalidBodyError("a data URL must be base64: data:image/png;base64,...")
        try:
            # `base64 FILE` breaks lines; split() would make a string per line, and a line may be one character long
            return base64.b64decode(data.encode("ascii").translate(None, BLANKS), validate=True)
        except ValueError:
            pass
    raise InvalidBodyError(f"the JSON field '{FIELD}' must be an image as base64 or a data URL, or a list of these")


async def stream_body(request: Request, quota: BodyQuota) -> AsyncGenerator[bytes, None]:
    """The body in chunks, which count toward the quota. Raises what `read_body` raises."""
    async for chunk in request.stream():
        quota.add(len(chunk))
        yield chunk
