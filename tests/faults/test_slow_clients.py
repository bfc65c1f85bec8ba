"""Clients that send part of a request, or read no responses, don't keep others out."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from model.artifacts.artifact import Artifact
from server.connections import http_protocol
from server.connections.http_protocol import MAX_HEADER_BYTES
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until
from tests.helpers.server import HTTP_OPTIONS, served_in_thread

pytestmark = pytest.mark.exclusive


@pytest.fixture
def port(artifact: Artifact) -> Iterator[int]:
    service = Service(Settings(artifact=artifact.path, max_concurrent_requests=2, request_timeout=1.5))
    with served_in_thread(service, **HTTP_OPTIONS) as port:
        yield port


def test_a_body_that_stops_is_answered_408_and_its_place_is_free(port: int, images: Path) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
    url, data = f"http://127.0.0.1:{port}/classify", (images / "checks" / "01.jpg").read_bytes()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    for connection in slow:
        connection.sendall(head)
    wait_until(lambda: httpx2.post(url, content=data).status_code == 503)
    for connection in slow:
        assert b"408" in connection.recv(100)
        connection.close()
    assert httpx2.post(url, content=data).status_code == 200


def test_a_client_that_hangs_up_frees_its_place(artifact: Artifact, images: Path) -> None:
    """At once, although its request could take a minute."""
    service = Service(Settings(artifact=artifact.path, max_concurrent_requests=2, request_timeout=60))
    data = (images / "checks" / "01.jpg").read_bytes()
    with served_in_thread(service, **HTTP_OPTIONS) as port:
        url = f"http://127.0.0.1:{port}/classify"
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for connection in slow:
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        wait_until(lambda: httpx2.post(url, content=data).status_code == 503)
        for connection in slow:
            connection.close()
        wait_until(lambda: httpx2.post(url, content=data).status_code == 200, seconds=10)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /live HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_stop_end_the_connection(port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT", 0.3)
    whole = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as first:
        first.sendall(sent)
        assert first.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as second:
        for _ in range(2):
            second.sendall(whole)
            answer = b""
            while not answer.endswith(b"}"):
                answer += second.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.5)  # between requests it may idle for longer
        second.sendall(sent or b"G")
        begun = time.monotonic()
        assert second.recv(100) == b""
        assert time.monotonic() - begun < 3


def test_a_slow_answer_is_not_cut_off(port: int, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT", 0.2)
    data = (images / "checks" / "01.jpg").read_bytes()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:9])
        time.sleep(0.3)
        client.sendall(data[9:])
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_headers_without_end_are_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"x" * 2 * MAX_HEADER_BYTES)
        answer = b""
        while part := client.recv(1000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"connection: close" in answer.lower()


def is_cut_off(connection: socket.socket, data: bytes) -> bool:
    """Whether the server has closed the connection of a client that reads no responses; sends `data` to find out."""
    try:
        connection.sendall(data)
    except ConnectionError:
        return True
    except TimeoutError:
        pass
    return False


def test_an_answer_that_nobody_takes_frees_its_place(port: int, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients send requests, an image last, and read nothing: they hold both slots until they are cut off."""
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 2.0)
    url, data = f"http://127.0.0.1:{port}", (images / "checks" / "01.jpg").read_bytes()
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 300
    head = b"POST /preview HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data)
    deaf = []
    for _ in range(2):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.settimeout(0.5)
        deaf.append(connection)
        with contextlib.suppress(TimeoutError):
            for _ in range(100):
                connection.sendall(ask + head + data)
    wait_until(lambda: httpx2.post(f"{url}/classify", content=data).status_code == 200)
    for connection in deaf:
        wait_until(lambda connection=connection: is_cut_off(connection, ask))  # type: ignore[misc]
        connection.close()


def test_one_that_takes_its_answers_slowly_gets_them(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response may take longer than WRITE_TIMEOUT, as long as its client goes on reading."""
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 0.3)
    service = Service(Settings(artifact=artifact.path))
    with (
        served_in_thread(
            service, send_buffer=8192, **HTTP_OPTIONS
        ) as port,  # the rest of a response waits in the server
        socket.socket() as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(5)
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        answers, begun = b"", time.monotonic()
        while answers.count(b"HTTP/1.1 200") < 2 and (part := slow.recv(4000)):
            answers += part
            time.sleep(0.02)
        assert answers.count(b"HTTP/1.1 200") == 2
        assert time.monotonic() - begun > 0.6


def test_a_body_that_nobody_reads_ends_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The response was sent before the body, so nothing else would end the connection."""
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"x")
        begun = time.monotonic()
        while connection.recv(1000):
            pass
        assert time.monotonic() - begun < 3
