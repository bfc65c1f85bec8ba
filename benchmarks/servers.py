"""Servers to be measured, as child processes."""

from __future__ import annotations

import os
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


@dataclass(frozen=True)
class Server:
    """A running server. `url`: of its classification endpoint."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def processes(self) -> list[int]:
        """Ids of the process and its descendants."""
        return process_tree(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes so far."""
        ticks = 0
        for pid in self.processes:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Resident bytes of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes)
        return pages * os.sysconf("SC_PAGE_SIZE")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run; it is stopped otherwise, so that an idle server costs the others nothing."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for pid in self.processes:
            os.kill(pid, number)


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in process_tree(int(child)))]


@contextmanager
def start_server(command: Sequence[str], image: bytes, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """Start `command` with a free port for `{port}`; ready when it has classified an image, ended after use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)],
            cwd=ROOT, env=os.environ | (environment or {}), stdout=output, stderr=output,
        )  # fmt: skip
        server = Server(process, f"http://127.0.0.1:{port}/classify")
        try:
            for _ in range(1200):
                if process.poll() is not None:
                    output.seek(0)
                    raise SystemExit(f"the server exited:\n{output.read().decode()[-2000:]}")
                try:
                    if httpx2.post(server.url, files={"image": ("image.jpg", image)}).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                time.sleep(0.1)
            server._signal(signal.SIGSTOP)
            yield server
        finally:
            for pid in reversed(process_tree(process.pid) if process.poll() is None else []):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
            process.wait(30)
