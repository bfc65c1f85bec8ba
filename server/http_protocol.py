"""HTTP connections with time-outs: for a request's headers, for an unread rest of a body, and for a slow reader."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT = 10.0
"""Seconds from the first byte, or from the connection, to the end of the headers."""

MAX_HEADER_BYTES = 16 * 1024

WRITE_TIMEOUT = 10.0
MIN_WRITE_BYTES = 10 * 1024
"""A client that takes fewer bytes of a response in WRITE_TIMEOUT seconds is disconnected: its request is in flight
until it has all."""


class TimeoutH11Protocol(H11Protocol):
    """uvicorn would wait for ever, with a connection each, for headers and for a client to take its response."""

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        complete = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.SEND_BODY and complete:
            self._start_header_timer()  # the rest of a body whose request was answered without it
        elif self.conn.their_state is not h11.IDLE:
            self._stop_header_timer()
        elif self.conn.trailing_data[0]:
            self._start_header_timer()  # the first part of another request's headers

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._start_write_timer()  # closed, but for what the client hasn't taken yet

    def shutdown(self) -> None:
        super().shutdown()
        self._start_write_timer()

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self._close)

    def _close(self) -> None:
        self.transport.close()
        self._start_write_timer()

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _start_write_timer(self) -> None:
        self._stop_write_timer()
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self._write_timer = self.loop.call_later(WRITE_TIMEOUT, self._check_progress, unsent)

    def _check_progress(self, unsent_before: int) -> None:
        if self.transport.get_write_buffer_size() > max(0, unsent_before - MIN_WRITE_BYTES):
            self.transport.abort()
        else:
            self._start_write_timer()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
