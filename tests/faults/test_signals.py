"""Signals at every moment: before the server is loaded, while it serves, and when its threads are busy."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from model.artifacts.artifact import Artifact
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET, wait_until_ready

SERVE = (
    "import sys, {};"
    "from server import run; from server.settings import Settings;"
    "run.serve(Settings(artifact=sys.argv[1], port=int(sys.argv[2]), shutdown_timeout=1), print)"
)


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as output, subprocess.Popen(command, cwd=log.parent, stdout=output, stderr=output) as server:
        try:
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_hangup_before_the_server_is_ready_does_not_end_it(artifact: Artifact, tmp_path: Path) -> None:
    port = free_port()
    command = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", str(port)]
    with started(command, tmp_path / "log") as server:
        wait_until(lambda: catches(server.pid, signal.SIGHUP))
        server.send_signal(signal.SIGHUP)
        wait_until_ready(f"http://127.0.0.1:{port}", server)
        for _ in range(100):
            server.send_signal(signal.SIGHUP)
        log = tmp_path / "log"
        wait_until(lambda: log.read_text().count("INFO serving patterns") >= 1)
        httpx2.get(f"http://127.0.0.1:{port}/live")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert log.read_text().count("INFO serving patterns") <= 4  # for 101 signals


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_process_1_stops_before_it_is_ready(artifact: Artifact, tmp_path: Path) -> None:
    """Process 1 has no default actions: the kernel drops its signals that have no handler."""
    serve = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", str(free_port())]
    with started(["unshare", "--pid", "--fork", "--kill-child", *serve], tmp_path / "log") as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: bool(children.read_text().split()))
        inner = int(children.read_text().split()[0])
        wait_until(lambda: b"serve" in Path(f"/proc/{inner}/cmdline").read_bytes())
        wait_until(lambda: catches(inner, signal.SIGTERM), 2)
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(5) == 128 + signal.SIGTERM


@pytest.mark.parametrize("signals", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_busy_threads_do_not_keep_a_server_alive(artifact: Artifact, tmp_path: Path, signals: int) -> None:
    """With threads that never end, the first signal ends the process in bounded time, the second at once.

    A request that waits for them is answered when the shutdown timeout is over, unless a second signal comes before.
    """
    port = free_port()
    patch = "time; import server.process.server as s; s.CLOSE_SECONDS = 1; import server.service as v;"
    patch += "v.Service.busy = lambda self: [self.decoder._threads.submit(time.sleep, 600) for _ in range(99)];"
    patch += "i = v.Service.__init__; v.Service.__init__ = lambda self, x: (i(self, x), self.busy())[0]"
    command = [sys.executable, "-c", SERVE.format(patch), str(artifact.path), str(port)]
    with started(command, tmp_path / "log") as server:
        url, responses = f"http://127.0.0.1:{port}", []
        wait_until_ready(url, server)
        request = threading.Thread(target=lambda: responses.append(post_image(url)))
        request.start()
        wait_until(lambda: httpx2.get(f"{url}/metrics").text.count("alexnet_inflight_requests 1.0") == 1)
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        if signals == 2:
            wait_until(lambda: "shutting down" in (tmp_path / "log").read_text() or server.poll() is not None)
            server.send_signal(signal.SIGTERM)
        assert server.wait(15) == (1 if signals == 1 else 128 + signal.SIGTERM)
        assert time.monotonic() - begun < 10
        request.join()
    assert responses == [(503, "the server is stopping: send the request again") if signals == 1 else None]
    assert "Traceback" not in (tmp_path / "log").read_text()


def post_image(url: str) -> tuple[int, str] | None:
    """Status and message of the error response; None without a response."""
    try:
        response = httpx2.post(f"{url}/classify", content=b"image", timeout=60)
    except httpx2.TransportError:
        return None
    return response.status_code, response.json()["error"]["message"]


def test_a_log_that_nobody_reads_does_not_stop_the_server(artifact: Artifact, tmp_path: Path) -> None:
    port, (read_end, write_end) = free_port(), os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    command = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=write_end, stderr=write_end) as server:
        wait_until_ready(f"http://127.0.0.1:{port}", server)
        with httpx2.Client() as client:
            for _ in range(100):  # more lines than the pipe holds
                assert client.get(f"http://127.0.0.1:{port}/info", timeout=5).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    os.close(write_end)
    os.close(read_end)
