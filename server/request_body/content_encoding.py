"""Compressed request bodies: decompressed by their `Content-Encoding` as they arrive.

Whoever reads a body counts its decompressed bytes, so limits apply to them too.
"""

from __future__ import annotations

import asyncio
import importlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exceptions import InvalidBodyError, UnsupportedEncodingError

MAX_CHUNK_BYTES = 256 * 1024
"""Maximum decompressed at once, so that other requests are not kept waiting."""
MAX_SMALL_MEMBERS = 1000
MIN_MEMBER_BYTES = 256
"""A body may have several members (gzip) or frames (zstd), one after the other. Each takes time, even an empty one: if
there are more than MAX_SMALL_MEMBERS, their mean size must be at least MIN_MEMBER_BYTES."""


class Decompressor(ABC):
    """Decompresses data of one or more members as it arrives. `complete`: whether the data may end here."""

    def __init__(self) -> None:
        self.complete = False
        self._current = self.start()
        self._num_members, self._num_bytes = 1, 0

    @abstractmethod
    def start(self) -> Any:
        """The library's decompressor for the next member; it has `eof` and `unused_data`."""

    @abstractmethod
    def decompress(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes of the next part of a member, at most MAX_CHUNK_BYTES at a time."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes of the next part, at most MAX_CHUNK_BYTES at a time. Raises InvalidBodyError."""
        self._num_bytes += len(data)
        while data:
            if self.complete:
                self._start_next()
            yield from self.decompress(data)
            self.complete, data = self._current.eof, self._current.unused_data

    def _start_next(self) -> None:
        self._current, self.complete = self.start(), False
        self._num_members += 1
        if self._num_members > MAX_SMALL_MEMBERS and self._num_bytes < MIN_MEMBER_BYTES * self._num_members:
            raise InvalidBodyError(
                f"the body consists of {self._num_members:,} gzip members or zstd frames of less than "
                f"{MIN_MEMBER_BYTES:,} bytes on average: compress it as one"
            )


class ZlibDecompressor(Decompressor):
    """gzip or deflate. `window_bits`: as in `zlib.decompressobj`."""

    def __init__(self, window_bits: int) -> None:
        self.window_bits = window_bits
        super().__init__()

    def start(self) -> Any:
        return zlib.decompressobj(self.window_bits)

    def decompress(self, data: bytes) -> Iterator[bytes]:
        while chunk := self._current.decompress(data, MAX_CHUNK_BYTES):
            yield chunk
            data = self._current.unconsumed_tail


class DeflateDecompressor(ZlibDecompressor):
    """Deflate in zlib's format, as HTTP defines it, or raw, as some clients send it: the first byte tells which."""

    def __init__(self) -> None:
        super().__init__(zlib.MAX_WBITS)
        self._first = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._first and data and data[0] & 0x0F != zlib.DEFLATED:
            super().__init__(-zlib.MAX_WBITS)
        self._first = self._first and not data
        return super().feed(data)


class ZstdDecompressor(Decompressor):
    """zstd, with a module of Python 3.14 or the package backports.zstd."""

    def __init__(self, module: Any) -> None:
        self.module = module
        super().__init__()

    def start(self) -> Any:
        return self.module.ZstdDecompressor()

    def decompress(self, data: bytes) -> Iterator[bytes]:
        chunk = self._current.decompress(data, MAX_CHUNK_BYTES)
        while chunk:
            yield chunk
            done = self._current.eof or self._current.needs_input
            chunk = b"" if done else self._current.decompress(b"", MAX_CHUNK_BYTES)


def find_decompressors() -> tuple[dict[str, Callable[[], Decompressor]], tuple[type[Exception], ...]]:
    """The known encodings, and the exceptions for damaged data. zstd is known if a module for it is installed."""
    decompressors: dict[str, Callable[[], Decompressor]] = {
        "gzip": lambda: ZlibDecompressor(16 + zlib.MAX_WBITS),
        "deflate": DeflateDecompressor,
    }
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return decompressors | {"zstd": partial(ZstdDecompressor, module)}, (zlib.error, module.ZstdError)
    return decompressors, (zlib.error,)


DECOMPRESSORS, DECOMPRESSION_ERRORS = find_decompressors()
ACCEPTED_ENCODINGS = ", ".join(DECOMPRESSORS)


class ContentEncodingMiddleware:
    """Decompresses bodies, except those of GET. Reading one may raise UnsupportedEncodingError or InvalidBodyError."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "GET":
            encoding = ",".join(Headers(scope=scope).getlist("content-encoding")).strip().lower()
            if encoding not in ("", "identity"):
                receive = _CompressedBody(receive, encoding).receive
        await self.app(scope, receive, send)


class _CompressedBody:
    """One body, decompressed as it is received."""

    def __init__(self, receive: Receive, encoding: str) -> None:
        self._receive, self._encoding = receive, encoding
        self._decompressor: Decompressor | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._received = self._ended = False

    async def receive(self) -> Message:
        if self._decompressor is None:
            self._decompressor = self._create_decompressor()
        while not self._ended:
            if chunk := self._next_chunk():
                await asyncio.sleep(0)
                return {"type": "http.request", "body": chunk, "more_body": True}
            if self._received:
                return self._end(self._decompressor)
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._chunks = self._decompressor.feed(message.get("body", b""))
            self._received = not message.get("more_body", False)
        return await self._receive()

    def _create_decompressor(self) -> Decompressor:
        name = self._encoding.removeprefix("x-")  # x-gzip is gzip (RFC 9110, section 8.4.1.3)
        if name not in DECOMPRESSORS:
            raise UnsupportedEncodingError(
                f"unsupported Content-Encoding {self._encoding[:80]!r}: compress the body once, with "
                f"{ACCEPTED_ENCODINGS}, or not at all"
            )
        return DECOMPRESSORS[name]()

    def _next_chunk(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except DECOMPRESSION_ERRORS as error:
            raise InvalidBodyError(f"the {self._encoding} body is damaged: send it again") from error

    def _end(self, decompressor: Decompressor) -> Message:
        if not decompressor.complete:
            raise InvalidBodyError(f"the {self._encoding} body is truncated: send it in full")
        self._ended = True
        return {"type": "http.request", "body": b"", "more_body": False}
