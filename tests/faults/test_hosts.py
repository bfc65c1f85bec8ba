"""Two servers on two hosts behind deploy/haproxy.cfg, asked from a third: killed, cut off, changed, and stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from model.artifacts.artifact import Artifact
from server.settings import Settings
from tests.helpers.drawings import encode
from tests.helpers.hosts import Host, hosts, missing
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET, add_version

pytestmark = pytest.mark.exclusive

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
LOAD = """
import http.client, json, sys, threading, time

def ask(path, body):
    while not over.is_set():
        begun, version = time.monotonic(), None
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
            connection.request("POST", path, body)
            answer = connection.getresponse()
            status, version = answer.status, json.loads(answer.read())["model"]["version"]
        except Exception as error:
            status = repr(error)
        print(json.dumps([path, status, version, time.monotonic() - begun]), flush=True)

over = threading.Event()
bodies = [open(name, "rb").read() for name in sys.argv[1:]]
asked = [(path, body) for path in ("/classify", "/similar?k=3") for body in bodies]
threads = [threading.Thread(target=ask, args=pair) for pair in asked]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
"""

LISTENS = """
import socket, time
while socket.socket().connect_ex(("127.0.0.1", 8080)):
    time.sleep(0.05)
"""


class Cluster:
    """Two servers, each with a copy of the index, and the balancer with its client."""

    def __init__(self, home: Path, root: Path, index: Path, made: list[Host], images: list[Path]) -> None:
        self.home, self.root, self.images = home, root, images
        self.servers, self.client = made[:2], made[2]
        self.processes: dict[int, subprocess.Popen[str]] = {}
        for number in (1, 2):
            shutil.copytree(index, home / f"index-{number}")
            self.serve(number)
        for number in (1, 2):
            self.wait(f"server-{number}.log", "accepting requests")
        self.processes[0] = self._start(self.client, "haproxy.log", ["haproxy", "-db", "-f", CONFIGURATION])
        self.client.run(sys.executable, "-c", LISTENS)

    def _start(self, host: Host, log: str, command: list[object]) -> subprocess.Popen[str]:
        addresses = {f"SERVER_{number}": f"{server.address}:8000" for number, server in enumerate(self.servers, 1)}
        with (self.home / log).open("a") as output:
            environment = os.environ | addresses | {"ALEXNET_DRAIN_SECONDS": "3"}
            return host.start(command, stdout=output, stderr=output, env=environment, cwd=self.home)

    def serve(self, number: int) -> None:
        options = ["--artifact", self.root, "--index", self.home / f"index-{number}", "--read-only", "--threads", 1]
        command = [ALEXNET, "serve", *options, "--host", "0.0.0.0"]
        self.processes[number] = self._start(self.servers[number - 1], f"server-{number}.log", command)

    def log(self, name: str) -> str:
        path = self.home / name
        return path.read_text() if path.exists() else ""

    def wait(self, log: str, pattern: str, least: int = 1) -> None:
        """Until `pattern` is in a log `least` times."""
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
        """Until the balancer has sent that many requests to another server."""
        wait_until(lambda: sent_again(self) >= least, seconds=60)

    def version(self, number: int) -> int:
        """What a server says that it serves."""
        address = f"http://{self.servers[number - 1].address}:8000/info"
        script = f"import urllib.request; print(urllib.request.urlopen('{address}').read().decode())"
        return int(json.loads(self.client.run(sys.executable, "-c", script))["model"]["version"])

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    @contextmanager
    def load(self) -> Iterator[list[list[object]]]:
        """Four clients that ask as fast as they are answered; afterwards the list has all answers."""
        answers, path = list[list[object]](), self.home / "answers"
        with path.open("w") as output:
            command = [sys.executable, "-c", LOAD, *self.images]
            process = self.client.start(command, stdin=subprocess.PIPE, stdout=output)
            self.wait("answers", "200", least=8)
            yield answers
            self.wait("answers", "200", least=path.read_text().count("200") + 8)  # it goes on as before
            process.communicate(timeout=60)
        answers += [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster(
    artifact: Artifact, index_path: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    if reason := missing() or ("" if shutil.which("haproxy") else "expected HAProxy: make hosts"):
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("cluster")
    add_version(home / "artifacts", artifact)
    large = home / "large.png"  # 1.5 MB, many buffers of HAProxy's default
    large.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8), "PNG"))
    with hosts(3) as made, ExitStack() as running:
        sent = [images / "checks" / "01.jpg", large]
        cluster = Cluster(home, home / "artifacts", index_path, made, sent)
        running.callback(cluster.stop)
        yield cluster


def require_all_answered(answers: list[list[object]], slowest: float) -> None:
    assert {(path, status) for path, status, *_ in answers} == {("/classify", 200), ("/similar?k=3", 200)}
    assert max(float(str(seconds)) for *_, seconds in answers) < slowest


def sent_again(cluster: Cluster) -> int:
    """Requests in the balancer's log that another server answered at last."""
    return len(re.findall(r" 200 \d+ - - ---- \d+/\d+/\d+/\d+/\+[1-9]", cluster.log("haproxy.log")))


def test_one_is_killed(cluster: Cluster) -> None:
    before = sent_again(cluster)
    with cluster.load() as answers:
        downs, ups = cluster.seen(1, "DOWN"), cluster.seen(1, "UP")
        cluster.processes[1].kill()
        cluster.processes[1].wait()
        cluster.wait_seen(1, "DOWN", downs + 1)
        cluster.serve(1)
        cluster.wait_seen(1, "UP", ups + 1)
    require_all_answered(answers, 10)
    assert sent_again(cluster) > before


def test_one_is_cut_off(cluster: Cluster) -> None:
    before = sent_again(cluster)
    with cluster.load() as answers:
        downs, ups = cluster.seen(2, "DOWN"), cluster.seen(2, "UP")
        cluster.servers[1].link("down")
        cluster.wait_seen(2, "DOWN", downs + 1)
        cluster.wait_sent_again(before + 1)  # requests in flight there are given up after four seconds, and sent again
        cluster.servers[1].link("up")
        cluster.wait_seen(2, "UP", ups + 1)
    require_all_answered(answers, 15)
    assert sent_again(cluster) > before


def test_another_version_one_after_the_other(cluster: Cluster, artifact: Artifact) -> None:
    with cluster.load() as answers:
        version = add_version(cluster.root, artifact).manifest.version
        for number in (1, 2):
            said = cluster.log(f"server-{number}.log").count(f"serving patterns version {version}")
            cluster.processes[number].send_signal(signal.SIGHUP)
            cluster.wait(f"server-{number}.log", f"serving patterns version {version}", said + 1)
            assert cluster.version(number) == version
    require_all_answered(answers, 10)
    versions = [number for _, _, number, _ in answers]
    assert set(versions) == {version - 1, version}
    assert set(versions[-4:]) == {version}


def test_one_is_stopped(cluster: Cluster) -> None:
    with cluster.load() as answers:
        downs = cluster.seen(1, "DOWN")
        cluster.processes[1].terminate()
        cluster.wait_seen(1, "DOWN", downs + 1)
        assert cluster.processes[1].poll() is None  # it still serves what it was given
        assert cluster.processes[1].wait(30) == 0
    require_all_answered(answers, 10)
    assert "Traceback" not in cluster.log("server-1.log")


def test_the_balancer_s_limits_are_the_server_s() -> None:
    text, settings = CONFIGURATION.read_text(), Settings()
    assert f"req.body_size gt {settings.max_body_bytes} " in text
    assert float(re.findall(r"timeout http-request (\d+)s", text)[0]) <= settings.request_timeout
    assert float(re.findall(r"timeout server (\d+)s", text)[0]) > settings.request_timeout


SEND = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
method, path, length, sent = sys.argv[1:]
connection.putrequest(method, path)
connection.putheader("Content-Length", length)
connection.endheaders(b"x" * int(sent))
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.mark.parametrize(
    ("method", "path", "length", "sent", "expected"),
    [
        ("POST", "/classify", Settings().max_body_bytes + 1, 9_000_000, "413 .*body_too_large"),
        ("POST", "/reload", 0, 0, "404 not available through the load balancer"),
        ("GET", "/metrics", 0, 0, "404 not available through the load balancer"),
        ("GET", "/%6detrics", 0, 0, "404 not available through the load balancer"),
        ("GET", "/ready", 0, 0, "200 ready"),
        ("GET", "/info", 0, 0, '200 .*"patterns"'),
        ("DELETE", "/images/1", 0, 0, "409 .*read_only_index"),
    ],
)
def test_what_passes(cluster: Cluster, method: str, path: str, length: int, sent: int, expected: str) -> None:
    assert re.match(expected, cluster.client.run(sys.executable, "-c", SEND, method, path, length, sent))
