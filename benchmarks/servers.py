"""Start servers as child processes, and measure their CPU time and memory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks.results import ROOT

START_SECONDS = 120.0
"""Maximum time until a server has classified its first image."""


@dataclass(frozen=True)
class Server:
    """A running server. `url`: of its classification endpoint."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def process_ids(self) -> list[int]:
        """Ids of the process and its descendants."""
        return process_tree(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes so far."""
        ticks = 0
        for pid in self.process_ids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Resident bytes of all its processes; shared pages count once (Pss)."""
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.process_ids)
        return sum(1024 * int(kilobytes) for text in rollups for kilobytes in re.findall(r"^Pss:\s+(\d+)", text, re.M))

    def require_alive(self) -> None:
        """Raise SystemExit if the process has ended, which makes the measurement meaningless."""
        if self.process.poll() is not None:
            raise SystemExit(f"a server ended during the measurement with status {self.process.returncode}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the server run in this context; otherwise it is stopped, so that it doesn't slow the others."""
        self.require_alive()
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            if self.process.poll() is None:
                self._signal(signal.SIGSTOP)
        self.require_alive()

    def _signal(self, number: int) -> None:
        for pid in self.process_ids:
            os.kill(pid, number)


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in process_tree(int(child)))]


@contextmanager
def start_server(command: Sequence[str], image: bytes) -> Iterator[Server]:
    """Start Python with the arguments `command`, whose `{port}` becomes a free port, and terminate it at the end.

    The server is yielded, stopped, once it has classified `image`. Raises SystemExit if it exits before, or isn't ready
    after two minutes.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)],
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
        server = Server(process, f"http://127.0.0.1:{port}/classify")
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _classifies(server.url, image):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise SystemExit(f"the server didn't start:\n{output.read().decode()[-2000:]}")
                time.sleep(0.1)
            server._signal(signal.SIGSTOP)
            yield server
        finally:
            for pid in reversed(process_tree(process.pid) if process.poll() is None else []):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
            process.wait(30)


def _classifies(url: str, image: bytes) -> bool:
    try:
        return httpx2.post(url, files={"image": ("image.jpg", image)}).status_code == 200
    except httpx2.HTTPError:
        return False
