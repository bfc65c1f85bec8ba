"""`alexnet serve` as a user starts it: a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from model.artifacts.artifact import Artifact, Manifest
from model.artifacts.writer import publish
from server.app import create_app
from server.connections.http_protocol import MAX_HEADER_BYTES, TimeoutH11Protocol
from server.service import Service

ALEXNET = Path(sys.executable).parent / "alexnet"
HTTP_OPTIONS: dict[str, Any] = {"http": TimeoutH11Protocol, "h11_max_incomplete_event_size": MAX_HEADER_BYTES}
"""uvicorn's options, as `alexnet serve` sets them."""


def add_version(root: Path, artifact: Artifact) -> Artifact:
    """Publish the next version below `root`, with the network of `artifact`."""

    def write(folder: Path) -> Manifest:
        shutil.copy(artifact.network_path, folder)
        return artifact.manifest

    return publish(root, "patterns", artifact.labels, write)


@contextmanager
def served(artifact: Artifact, home: Path, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The address and process id of a server that is ready; it is stopped after use. Its output is in `home`/log."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", str(port)]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log, env=os.environ | environment)
        try:
            wait_until_ready(url, server)
            yield url, server.pid
        finally:
            server.terminate()
            assert server.wait(30) == 0, (home / "log").read_text()


@contextmanager
def served_in_thread(service: Service, send_buffer: int | None = None, **options: Any) -> Iterator[int]:
    """The port of a server in a thread of this process, for clients that need a connection.

    `send_buffer`: bytes of a response that the kernel takes from the server before its client has read them.
    `options`: for uvicorn.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="critical", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:  # also after a failed test, or the process would never end
            server.should_exit = True
            thread.join(20)


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until /ready answers 200. Raises AssertionError after 60 seconds, or once the process has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx2.get(f"{url}/ready").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("expected a server that becomes ready")
