"""A client's connection: its request lines and headers must come in time, and be of a sane size (16 KiB); its answers
must be taken in time."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""From the first byte, or from the connection, to the end of the headers."""

HEADER_BYTES = 16 * 1024

TAKING_SECONDS, TAKEN_BYTES = 10.0, 10 * 1024
"""A client that takes fewer bytes of an answer in that time is cut off: until it has all, its request is in work."""


class Connection(H11Protocol):
    """uvicorn waits for headers, for what is left of a body that nobody reads, and for a client to take its answer for
    ever, and would keep a connection for each."""

    _patience: asyncio.TimerHandle | None = None
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.SEND_BODY and answered:
            self._wait()  # the rest of a body whose request was answered without it
        elif self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self.conn.trailing_data[0]:
            self._wait()  # the first part of another request's headers

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_taking()  # closed, but for what the client hasn't taken yet

    def shutdown(self) -> None:
        super().shutdown()
        self._watch_taking()

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEADER_SECONDS, self._close)

    def _close(self) -> None:
        self.transport.close()
        self._watch_taking()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _watch_taking(self) -> None:
        self._stop_watching()
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self._watch = self.loop.call_later(TAKING_SECONDS, self._require_taking, unsent)

    def _require_taking(self, before: int) -> None:
        if self.transport.get_write_buffer_size() > max(0, before - TAKEN_BYTES):
            self.transport.abort()
        else:
            self._watch_taking()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
