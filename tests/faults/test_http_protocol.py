"""HTTP as attackers and odd clients speak it, over a real connection."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from model.artifacts.artifact import Artifact
from server.connections import http_protocol
from server.connections.http_protocol import MAX_HEADER_BYTES
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until
from tests.helpers.server import HTTP_OPTIONS, served_in_thread

LIVE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def service(artifact: Artifact) -> Service:
    return Service(Settings(artifact=artifact.path, max_concurrent_requests=2, request_timeout=20))


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    with served_in_thread(service, **HTTP_OPTIONS, proxy_headers=False) as port:
        yield port


def exchange(port: int, data: bytes, timeout: float = 10) -> bytes:
    """Send `data`. Returns everything that comes back until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize(
    "head",
    [
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /classify HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /live HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(port: int, head: bytes) -> None:
    """A request that follows isn't answered: it may be part of this one's body."""
    received = exchange(port, head + LIVE)
    assert received.count(b"HTTP/1.1 ") == 1
    status, body = received[9:12], received.partition(b"\r\n\r\n")[2]
    assert (status, json.loads(body)["error"]["code"]) == (b"400", "bad_request")


@pytest.mark.parametrize("header", [b"X: " + b"x" * MAX_HEADER_BYTES + b"\r\n", b"X: y\r\n" * 5000])
def test_large_headers_are_refused_also_where_they_arrive_at_once(port: int, header: bytes) -> None:
    received = exchange(port, b"GET /live HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n" + LIVE)
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 400") == 1
    assert b"the headers exceed 16,384 bytes: shorten them" in received


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_request_for_another_protocol_is_answered_in_this_one(
    port: int, protocol: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Java's client asks for h2c in every request, each of which used to log two warnings to install a library."""
    request = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: " + protocol + b"\r\n\r\n"
    logger = logging.getLogger("uvicorn.error")
    caplog.set_level("WARNING", logger.name)
    logger.addHandler(caplog.handler)
    try:
        assert exchange(port, request).startswith(b"HTTP/1.1 200")
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == []


def test_the_absolute_form(port: int) -> None:
    received = exchange(port, b"GET http://user:secret@localhost/live HTTP/1.1\r\nHost: b.example\r\n"
                              b"Connection: close\r\n\r\n")  # fmt: skip
    assert received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", [b"/classify", b"/nothing", b"/live"])
def test_tiny_chunks_are_refused_at_once(port: int, path: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head + b"1\r\na\r\n" * 200_000)
        assert httpx2.get(f"http://127.0.0.1:{port}/live").status_code == 200
    assert time.monotonic() - begun < 3


def test_chunks_of_a_usual_size(port: int, images: object) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"".join(b"64\r\n" + b"x" * 100 + b"\r\n" for _ in range(2000)) + b"0\r\n\r\n"
    assert b"unsupported_image" in exchange(port, head + body)


def test_half_a_request_behind_a_whole_one_is_not_kept(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT", 0.3)
    begun = time.monotonic()
    assert exchange(port, LIVE + b"GET /li").startswith(b"HTTP/1.1 200")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("close", [b"Connection: close\r\n", b""])
@pytest.mark.parametrize("size", [360_000, 20_000_000])
def test_an_early_refusal_is_readable(port: int, service: Service, close: bytes, size: int) -> None:
    """Even by a client that sends the whole request before it reads."""
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size + close + b"\r\n"
    with contextlib.ExitStack() as places:
        service.admission.requests += 2  # no slot is free
        places.callback(lambda: setattr(service.admission, "requests", service.admission.requests - 2))
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(head + b"x" * size)
                received = connection.recv(1000)
            assert received.startswith(b"HTTP/1.1 503"), received
            assert b"retry-after: " in received.lower()


def test_one_that_sends_on_for_ever_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_LINGER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\nx"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")

        def is_cut_off() -> bool:
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(is_cut_off)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_more_connections_than_files(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that has been idle the longest is closed to make room for a new one."""
    monkeypatch.setattr(http_protocol, "max_connections", lambda: 5)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(30)]
        wait_until(lambda: [is_closed(connection) for connection in opened] == [True] * 25 + [False] * 5)
        opened[-1].settimeout(5)
        opened[-1].sendall(LIVE)
        assert opened[-1].recv(100).startswith(b"HTTP/1.1 200")


def test_connections_that_linger_after_a_damaged_body_make_room(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "max_connections", lambda: 5)
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            connection.sendall(head)
            time.sleep(0.1)  # the request has begun
            connection.sendall(b"zz\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert exchange(port, LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")


def test_what_is_no_request_has_a_line_in_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    received = exchange(port, b"GET /live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    error = json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    (record,) = [record for record in caplog.records if record.name == "server.middleware.access_log"]
    fields = {"status": 400, "code": "bad_request", "request_id": error["request_id"]}
    assert fields.items() <= record.__dict__.items()
