"""HTTP connections with limits: time for headers, unread bodies and slow readers; chunk sizes; open files.

If its client is still sending, a connection is closed in two steps, so that the client can read the response; what it
sends meanwhile is dropped (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import json
import resource
import uuid
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.exceptions import BAD_REQUEST
from server.middleware.access_log import log_request

HEADER_TIMEOUT = 10.0
"""Seconds from connecting, or from a later request's first byte, to the end of the headers."""

MAX_HEADER_BYTES = 16 * 1024
"""Maximum size of a request's line and headers as sent; h11 limits them only if they don't arrive all at once."""

WRITE_TIMEOUT = 10.0
MIN_WRITE_BYTES = 10 * 1024
"""A client that reads fewer than MIN_WRITE_BYTES of a response in WRITE_TIMEOUT seconds is disconnected: its request
stays in flight until it has read everything."""

LINGER_TIMEOUT = 5.0
MAX_LINGER_SECONDS = 30.0
"""A closing connection is kept, for MAX_LINGER_SECONDS at most, while its client sends without pausing for
LINGER_TIMEOUT seconds."""

MAX_SMALL_CHUNKS = 1000
MIN_CHUNK_BYTES = 64
"""Each chunk takes time, whatever its size: if there are more than MAX_SMALL_CHUNKS, their mean size must be at least
MIN_CHUNK_BYTES."""

RESERVED_FILES = 44
"""Open files that are not connections: the index, originals, threads' pipes."""

TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


GRPC_CONNECTION_DIVISOR = 4
"""If gRPC is served too, one connection in this many is reserved for it."""


def max_connections() -> int:
    """How many connections the process can have open."""
    return max(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES)


def max_grpc_connections() -> int:
    """How many of these connections may be gRPC's, if it is served."""
    return max_connections() // GRPC_CONNECTION_DIVISOR


class StrictConnection(h11.Connection):
    """Refuses what h11 lets through: large headers, ambiguous lengths, and bodies in very many small chunks.

    `reason`: why a request was refused.
    """

    reason = "invalid HTTP request"
    _chunks = _bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            self._check_size(event)
            self._check_length(event)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > MAX_SMALL_CHUNKS and self._bytes < MIN_CHUNK_BYTES * self._chunks:
                self._refuse(f"chunks of less than {MIN_CHUNK_BYTES} bytes on average: send larger ones")
        return event

    def _check_size(self, request: h11.Request) -> None:
        headers = sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers)
        if len(request.method) + len(request.target) + headers > MAX_HEADER_BYTES:
            self._refuse(f"the headers exceed {MAX_HEADER_BYTES:,} bytes: shorten them")

    def _check_length(self, request: h11.Request) -> None:
        """Refuse an ambiguous length: a proxy might use the other one, and see two requests where there is one."""
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and b"content-length" in names:
            self._refuse("both Content-Length and Transfer-Encoding: send only one")
        if b"transfer-encoding" in names and request.http_version < b"1.1":
            self._refuse("Transfer-Encoding in HTTP/1.0: send Content-Length")

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        raise h11.RemoteProtocolError(reason)


class Timer:
    """Calls a function after some seconds, unless it is stopped first. It counts as running until it is stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, function: Callable[..., None], *args: object) -> None:
        """Start, or start again if it is running."""
        self.stop()
        self._handle = self._loop.call_later(seconds, function, *args)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class LingeringTransport:
    """A transport that lets the protocol decide when `close` takes effect."""

    def __init__(self, transport: asyncio.Transport, protocol: TimeoutH11Protocol) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._protocol.close_transport(self._transport)

    def is_closing(self) -> bool:
        return self._protocol.lingering or self._transport.is_closing()


class TimeoutH11Protocol(H11Protocol):
    """Adds the timeouts that uvicorn lacks: for headers to arrive, and for a client to read its response."""

    lingering = False
    idle_since: float | None = None
    """When the connection began to wait for a request; None while it has one."""
    _linger_end = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: StrictConnection = StrictConnection(
            h11.SERVER, self.config.h11_max_incomplete_event_size or MAX_HEADER_BYTES
        )
        self._header_timer, self._write_timer, self._linger_timer = (Timer(self.loop) for _ in range(3))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = LingeringTransport(transport, self)  # type: ignore[assignment]
        self.idle_since = self.loop.time()
        self._start_header_timer()
        if len(self.connections) > self._max_connections():
            self._make_room(transport)

    def _max_connections(self) -> int:
        return max_connections()

    def _make_room(self, transport: asyncio.Transport) -> None:
        """Close the connection that has waited longest for a request, or this one if none is waiting."""
        idle = [
            (other.idle_since, other)
            for other in self.connections
            if isinstance(other, TimeoutH11Protocol) and other.idle_since is not None and other is not self
        ]
        if idle:
            _, oldest = min(idle, key=itemgetter(0))
            oldest.idle_since = None
            oldest.transport.abort()
        else:
            transport.write(TOO_MANY_CONNECTIONS)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            self._keep_lingering()
            return
        super().data_received(data)
        self._watch_request()

    def _should_upgrade(self) -> bool:
        """Never: only HTTP is spoken here, so an `Upgrade` header is ignored (RFC 9110, 7.8)."""
        return False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_request()

    def _watch_request(self) -> None:
        """Start or stop the timer for headers, and for a body that nobody reads."""
        # a request refused while its body arrives never completes; its lingering connection may be closed to make room
        complete = self.lingering or self.cycle is None or self.cycle.response_complete
        self.idle_since = (self.idle_since or self.loop.time()) if complete else None
        if self.transport.is_closing():
            self._header_timer.stop()
        elif self.conn.their_state is h11.SEND_BODY and complete:
            self._start_header_timer()  # the rest of a body that the response didn't wait for
        elif self.conn.their_state is not h11.IDLE:
            self._header_timer.stop()
        elif self.conn.trailing_data[0]:
            self._start_header_timer()  # the start of the next request's headers

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._write_timer, self._linger_timer):
            timer.stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that can't be parsed, with JSON in the usual shape of errors."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = uuid.uuid4().hex
            error = {"code": BAD_REQUEST.code, "message": self.conn.reason, "request_id": request_id}
            body = json.dumps({"error": error}).encode()
            headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            headers["x-request-id"] = request_id
            scope = {"path": "-", "request_id": request_id, "trace_id": None, "error_code": BAD_REQUEST.code}
            log_request(scope, "-", 400, {})
            for event in (
                h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def close_transport(self, transport: asyncio.Transport) -> None:
        """Close the connection. If its client is sending a body that nobody reads, wait until it stops."""
        sending = self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or self.conn.reason != StrictConnection.reason
        if self.lingering or not sending or transport.is_closing():
            transport.close()
            return
        self.lingering = True
        self._linger_end = self.loop.time() + MAX_LINGER_SECONDS
        self._header_timer.stop()
        self.flow.resume_reading()
        transport.write_eof()
        self._keep_lingering()

    def _keep_lingering(self) -> None:
        seconds = min(LINGER_TIMEOUT, self._linger_end - self.loop.time())
        self._linger_timer.start(max(0.0, seconds), self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        self._write_timer.stop()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._start_write_timer()  # closed, except for what the client hasn't read yet

    def shutdown(self) -> None:
        super().shutdown()
        self._start_write_timer()

    def _start_header_timer(self) -> None:
        if not self._header_timer.is_running:
            self._header_timer.start(HEADER_TIMEOUT, self._close)

    def _close(self) -> None:
        self.transport.close()
        self._start_write_timer()

    def _start_write_timer(self) -> None:
        self._write_timer.stop()
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self._write_timer.start(WRITE_TIMEOUT, self._check_progress, unsent)

    def _check_progress(self, unsent_before: int) -> None:
        if self.transport.get_write_buffer_size() > max(0, unsent_before - MIN_WRITE_BYTES):
            self.transport.abort()
        else:
            self._start_write_timer()


class TimeoutH11ProtocolWithGrpc(TimeoutH11Protocol):
    """Leaves gRPC its share of the connections."""

    def _max_connections(self) -> int:
        return max_connections() - max_grpc_connections()
