"""Clients that send a part of a body and wait don't keep others out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from model.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings


@pytest.fixture
def port(artifact: Artifact) -> Iterator[int]:
    service = Service(Settings(artifact=artifact.path, max_waiting=2, max_body_seconds=0.5))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()


def test_a_body_that_stops_is_answered_408_and_its_place_is_free(port: int, pictures: Path) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
    url, data = f"http://127.0.0.1:{port}/classify", (pictures / "checks" / "01.jpg").read_bytes()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    for connection in slow:
        connection.sendall(head)
    time.sleep(0.2)
    assert httpx2.post(url, content=data).status_code == 503
    for connection in slow:
        assert b"408" in connection.recv(100)
        connection.close()
    assert httpx2.post(url, content=data).status_code == 200


def test_a_client_that_hangs_up_frees_its_place(port: int, pictures: Path) -> None:
    data = (pictures / "checks" / "01.jpg").read_bytes()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /similar HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
    time.sleep(0.3)
    assert httpx2.post(f"http://127.0.0.1:{port}/classify", content=data).status_code == 200
