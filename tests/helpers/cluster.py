"""A cluster of two hosts with a server each, behind deploy/haproxy.cfg on a third host, where the clients are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.hosts import Host, missing
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
LISTENS = """
import socket, time
while socket.socket().connect_ex(("127.0.0.1", 8080)):
    time.sleep(0.05)
"""
SUCCESS = ", 200, "
"""The status in a client's line; without the commas, it would also match in identifiers and times."""


def find_haproxy() -> str | None:
    """HAProxy's program on PATH or in the folder where Debian installs it; None if it is missing."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")


def missing_programs() -> str:
    """Why a cluster can't run here; empty if it can."""
    return missing() or ("" if find_haproxy() else "expected HAProxy: make hosts")


class Cluster:
    """Two servers of the newest artifact below `root`, and the balancer with its client.

    `options`: more options for each server. `script`, `images`: the clients' program and the files it sends (`load`).
    """

    def __init__(
        self,
        home: Path,
        root: Path,
        options: tuple[list[str], list[str]],
        made: list[Host],
        script: str,
        images: list[Path],
    ) -> None:
        self.home, self.root, self.options, self.script, self.images = home, root, options, script, images
        self.servers, self.client = made[:2], made[2]
        self.processes: dict[int, subprocess.Popen[str]] = {}
        for number in (1, 2):
            self.serve(number)
        for number in (1, 2):
            self.wait(f"server-{number}.log", "accepting requests")
        self.processes[0] = self._start(self.client, "haproxy.log", [find_haproxy(), "-db", "-f", CONFIGURATION])
        self.client.run(sys.executable, "-c", LISTENS)

    def _start(self, host: Host, log: str, command: list[object]) -> subprocess.Popen[str]:
        addresses = {f"SERVER_{number}": f"{server.address}:8000" for number, server in enumerate(self.servers, 1)}
        with (self.home / log).open("a") as output:
            settings = {"ALEXNET_DRAIN_SECONDS": "3", "ALEXNET_TRUSTED_PROXIES": self.client.address}
            environment = os.environ | addresses | settings
            return host.start(command, stdout=output, stderr=output, env=environment, cwd=self.home)

    def serve(self, number: int) -> None:
        options = ["--artifact", self.root, "--threads", 1, *self.options[number - 1]]
        command = [ALEXNET, "serve", *options, "--host", "0.0.0.0"]
        self.processes[number] = self._start(self.servers[number - 1], f"server-{number}.log", command)

    def log(self, name: str) -> str:
        path = self.home / name
        return path.read_text() if path.exists() else ""

    def wait(self, log: str, pattern: str, least: int = 1) -> None:
        """Wait until `pattern` occurs at least `least` times in a log. Raises AssertionError after 60 seconds."""
        deadline = time.monotonic() + 60
        while len(re.findall(pattern, self.log(log))) < least:
            assert time.monotonic() < deadline, self.log(log)[-4000:]
            time.sleep(0.02)

    def seen(self, number: int, state: str) -> int:
        """How often the balancer has seen a server go up or down."""
        return len(re.findall(f"Server again/{('one', 'two')[number - 1]} is {state}", self.log("haproxy.log")))

    def wait_seen(self, number: int, state: str, least: int) -> None:
        self.wait("haproxy.log", f"Server again/{('one', 'two')[number - 1]} is {state}", least)

    def wait_sent_again(self, least: int) -> None:
        """Wait until the balancer has sent at least `least` requests to another server."""
        wait_until(lambda: sent_again(self) >= least, seconds=60)

    def version(self, number: int) -> int:
        """The version that a server says it serves."""
        address = f"http://{self.servers[number - 1].address}:8000/info"
        script = f"import urllib.request; print(urllib.request.urlopen('{address}').read().decode())"
        return int(json.loads(self.client.run(sys.executable, "-c", script))["model"]["version"])

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    @contextmanager
    def load(self) -> Iterator[list[list[object]]]:
        """Run the script's clients, which send as fast as they are answered; afterwards the list has all responses."""
        answers, path = list[list[object]](), self.home / "answers"
        with path.open("w") as output:
            command = [sys.executable, "-c", self.script, *self.images]
            process = self.client.start(command, stdin=subprocess.PIPE, stdout=output)
            self.wait("answers", SUCCESS, least=8)
            yield answers
            self.wait("answers", SUCCESS, least=path.read_text().count(SUCCESS) + 8)  # responses still arrive
            process.communicate(timeout=60)
        answers += [json.loads(line) for line in path.read_text().splitlines()]


def sent_again(cluster: Cluster) -> int:
    """The number of requests in the balancer's log that were sent again and then answered 200 by another server."""
    return len(re.findall(r" 200 \d+ - - ---- \d+/\d+/\d+/\d+/\+[1-9]", cluster.log("haproxy.log")))
