"""Servers, requests and copies of the index for the scripts in this folder.

Environment variables: `ALEXNET`, the program (default: the `alexnet` on PATH), and `ATTACK_HOME`, the working folder,
which `prepare.py` fills (default: `alexnet-attack` in the temporary folder).
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import typer

from benchmarks.sampling import sample_repeatedly

HOME = Path(os.environ.get("ATTACK_HOME") or Path(tempfile.gettempdir()) / "alexnet-attack")
LOGS = HOME / "logs"
ARTIFACTS = HOME / "artifacts"
INDEX = HOME / "index"
MEMORY_LIMIT = "ulimit -v 6000000; renice -n 15 $$ >/dev/null; "
"""No process takes more than 6 GB."""
JSON = {"Content-Type": "application/json"}
MODEL = "elpv"
INFER = f"/v2/models/{MODEL}/infer"


def _find_program() -> str:
    program = shutil.which(os.environ.get("ALEXNET", "alexnet"))
    if program is None:
        sys.exit("no alexnet on PATH: set ALEXNET")
    return str(Path(program).absolute())


ALEXNET = _find_program()
LOGS.mkdir(parents=True, exist_ok=True)
os.environ.setdefault("OMP_NUM_THREADS", "2")


def report(*values: object) -> None:
    """Print a line."""
    typer.echo(" ".join(str(value) for value in values))


def list_images(count: int | None = None) -> list[Path]:
    """The images of `prepare.py`: 30 solar cells in each of 8 folders."""
    return sorted((HOME / "images").glob("*/*.png"))[:count]


def first_image() -> bytes:
    return list_images(1)[0].read_bytes()


class ShellResult(NamedTuple):
    """Exit status (None: killed after the timeout), seconds, and the last 500 characters of the output."""

    status: int | None
    seconds: float
    output: str

    def last(self, count: int) -> str:
        """The last `count` characters of the output, on one line."""
        return self.output[-count:].replace("\n", " | ")


def run_shell(
    command: str, timeout: float = 120, cwd: Path = HOME, environment: Mapping[str, str] | None = None
) -> ShellResult:
    """Run a line of bash under the memory limit."""
    start = time.monotonic()
    process = subprocess.Popen(
        ["bash", "-c", MEMORY_LIMIT + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env=os.environ | (environment or {}), start_new_session=True,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ShellResult(None, timeout, "")
    return ShellResult(process.returncode, round(time.monotonic() - start, 1), output.strip()[-500:])


def start_shell(command: str, cwd: Path = HOME) -> subprocess.Popen[str]:
    """Start a line of bash under the memory limit."""
    return subprocess.Popen(
        ["bash", "-c", MEMORY_LIMIT + command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def add_command(folder: Path, index: Path) -> str:
    """The command that adds the images of a folder to an index."""
    return f"{ALEXNET} index add --data {folder} --artifact {ARTIFACTS} --index {index}"


def verify(index: Path) -> str:
    """Exit status and end of the output of `alexnet index verify`."""
    result = run_shell(f"{ALEXNET} index verify --index {index}")
    return f"{result.status} {result.last(120)}"


def copy_index(name: str, source: Path = INDEX) -> Path:
    """A fresh copy of an index, below HOME."""
    target = HOME / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def make_folder(name: str, count: int, suffix: bytes) -> Path:
    """The folder HOME/NAME, with `count` images in `class`; bytes appended to each make it a new image."""
    images, folder = list_images(), HOME / name / "class"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        data = images[number % len(images)].read_bytes()
        (folder / f"{number}.png").write_bytes(data + suffix + b"%d" % number)
    return folder.parent


class HttpResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """`alexnet serve` on a port of 127.0.0.1, with its log in HOME/logs."""

    def __init__(
        self,
        port: int,
        index: Path | None = None,
        artifact: Path = ARTIFACTS,
        *,
        log: str,
        environment: Mapping[str, str] | None = None,
        limits: str = "",
        options: Sequence[str] = (),
        wait: bool = True,
    ) -> None:
        self.port, self.log = port, LOGS / log
        command = [ALEXNET, "serve", "--artifact", str(artifact), "--port", str(port), *options]
        command += ["--index", str(index)] if index else []
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", "-c", f'{MEMORY_LIMIT}{limits} exec "$@"', "bash", *command],
                stdout=output, stderr=output, env=os.environ | (environment or {}), cwd=HOME,
            )  # fmt: skip
        self.pid = self.process.pid
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, timeout: float = 90) -> None:
        """Wait until /ready answers 200. Raises RuntimeError if it doesn't; the process has then ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.log_tail()}")
            if self.status("GET", "/ready", timeout=2) == 200:
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"the server was not ready in {timeout} s: {self.log_tail()}")

    def log_tail(self, count: int = 800) -> str:
        return self.log.read_bytes()[-count:].decode(errors="replace")

    def count_in_log(self, text: str) -> int:
        return self.log.read_text(errors="replace").count(text)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> HttpResponse:
        """Send a request. Raises OSError or HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return HttpResponse(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def status(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> int | str:
        """The status of a response, or the name of the exception."""
        try:
            return self.request(method, path, body, headers, timeout).status
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    def get_json(self, path: str) -> Any:
        return self.request("GET", path).json()

    def set_label(self, image_id: int, label: str, timeout: float = 60) -> int | str:
        return self.status("PATCH", f"/images/{image_id}", json.dumps({"label": label}), JSON, timeout)

    def add_images(self, count: int = 1, timeout: float = 60, label: str = "F") -> HttpResponse | str:
        """Add images of new bytes: the response, or the name of the exception."""
        data = first_image()
        body, headers = multipart([data + os.urandom(12) for _ in range(count)], [("label", label)])
        try:
            return self.request("POST", "/images", body, headers, timeout)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    def add(self, timeout: float = 60) -> int | str:
        """Add one image of new bytes: the status, or the name of the exception."""
        response = self.add_images(timeout=timeout)
        return response if isinstance(response, str) else response.status

    def send_raw(self, data: bytes, timeout: float = 5) -> bytes:
        """Send `data`. Returns all that comes back, then <EOF> if the server closed, or else the exception's name."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            try:
                while chunk := connection.recv(65536):
                    received += chunk
                return received + b"<EOF>"
            except (TimeoutError, ConnectionError) as error:
                return received + f"<{type(error).__name__}>".encode()

    def _memory(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))

    @property
    def rss(self) -> int:
        """Resident memory in MB."""
        return self._memory("VmRSS")

    @property
    def max_rss(self) -> int:
        """Peak resident memory in MB."""
        return self._memory("VmHWM")

    def resources(self) -> dict[str, int]:
        """Memory in MB, open files, and threads."""
        files, threads = (len(list(Path(f"/proc/{self.pid}/{name}").iterdir())) for name in ("fd", "task"))
        return {"rss": self.rss, "max_rss": self.max_rss, "files": files, "threads": threads}

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def failures(self) -> str:
        """Numbers of 500 responses and tracebacks in the log, and the process's resources."""
        counts = f"{self.count_in_log('status=500')} of status 500, {self.count_in_log('Traceback')} tracebacks"
        return f"{counts}, {self.resources() if self.process.poll() is None else 'ended'}"

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def terminate(self, timeout: float = 60) -> str:
        """Send SIGTERM. Returns the exit status and how long it took, as text."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = str(self.process.wait(timeout))
        except subprocess.TimeoutExpired:
            self.kill()
            status = "not ended, killed"
        return f"SIGTERM: {status} after {time.monotonic() - start:.1f} s"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def multipart(
    files: Sequence[bytes], fields: Sequence[tuple[str, str]] = (), boundary: str = "XbX"
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form with these files in the field `image`."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    for number, data in enumerate(files):
        head = f'Content-Disposition: form-data; name="image"; filename="{number}.png"\r\nContent-Type: image/png'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@contextmanager
def probe_live(server: Server, pause: float = 0.02) -> Iterator[list[tuple[float, int | str]]]:
    """Request /live repeatedly. Yields (seconds, status) of each response, complete when the context ends."""

    def probe() -> tuple[float, int | str]:
        start = time.monotonic()
        status = server.status("GET", "/live", timeout=120)
        return time.monotonic() - start, status

    with sample_repeatedly(probe, pause) as responses:
        yield responses


def worst(responses: Sequence[tuple[float, int | str]]) -> str:
    """The slowest response's seconds, as text."""
    return f"{max((seconds for seconds, _ in responses), default=0):.2f} s"


def run_at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in its own thread, and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def count(values: Sequence[object]) -> dict[object, int]:
    """How often each value occurs, most frequent first."""
    return dict(collections.Counter(values).most_common())


def run_parts(*parts: Callable[[], None]) -> None:
    """Run the parts that the command line names, or all; one that fails doesn't end the others."""
    names = sys.argv[1:]
    for part in parts:
        if names and part.__name__ not in names:
            continue
        report("=====", part.__name__)
        start = time.monotonic()
        try:
            part()
        except Exception as error:
            report("FAILED", repr(error)[:600])
        report(f"  ({time.monotonic() - start:.0f} s)")
