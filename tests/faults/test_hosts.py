"""Two servers on two hosts behind deploy/haproxy.cfg, with clients on a third: killed, cut off, updated, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import pytest

from model.artifacts.artifact import Artifact
from server.exceptions import OverloadedError, RequestTimeoutError
from server.settings import Settings
from tests.helpers.cluster import CONFIGURATION, Cluster, find_haproxy, missing_programs, sent_again
from tests.helpers.drawings import encode
from tests.helpers.hosts import hosts
from tests.helpers.polling import wait_until
from tests.helpers.server import add_version

pytestmark = pytest.mark.exclusive

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
        print(json.dumps([path, status, version, time.monotonic() - begun, begun]) + "\\n", end="", flush=True)

over = threading.Event()
bodies = [open(name, "rb").read() for name in sys.argv[1:]]
asked = [(path, body) for path in ("/classify", "/similar?k=3") for body in bodies]
threads = [threading.Thread(target=ask, args=pair) for pair in asked]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
"""


@pytest.fixture(scope="module")
def cluster(
    artifact: Artifact, index_path: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    if reason := missing_programs():
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("cluster")
    add_version(home / "artifacts", artifact)
    large = home / "large.png"  # 1.5 MB, many of HAProxy's default buffers
    large.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8), "PNG"))
    with hosts(3) as made, ExitStack() as running:
        sent = [images / "checks" / "01.jpg", large]
        first, second = (
            ["--read-only", "--index", str(shutil.copytree(index_path, home / f"index-{number}"))] for number in (1, 2)
        )
        cluster = Cluster(home, home / "artifacts", (first, second), made, LOAD, sent)
        running.callback(cluster.stop)
        yield cluster


def require_all_answered(answers: list[list[object]], slowest: float) -> None:
    assert {(path, status) for path, status, *_ in answers} == {("/classify", 200), ("/similar?k=3", 200)}
    assert max(float(str(seconds)) for *_, seconds, _ in answers) < slowest


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


@pytest.mark.slow
def test_one_is_cut_off(cluster: Cluster) -> None:
    before = sent_again(cluster)
    with cluster.load() as answers:
        downs, ups = cluster.seen(2, "DOWN"), cluster.seen(2, "UP")
        cluster.servers[1].link("down")
        cluster.wait_seen(2, "DOWN", downs + 1)
        cluster.wait_sent_again(before + 1)  # HAProxy gives up requests in flight after four seconds, and resends them
        cluster.servers[1].link("up")
        cluster.wait_seen(2, "UP", ups + 1)
    require_all_answered(answers, 15)
    assert sent_again(cluster) > before


def test_both_are_too_busy_to_respond_for_a_moment(cluster: Cluster) -> None:
    downs = cluster.seen(1, "DOWN"), cluster.seen(2, "DOWN")
    with cluster.load() as answers:
        for busy in (signal.SIGSTOP, signal.SIGCONT):
            for number in (1, 2):
                cluster.processes[number].send_signal(busy)
            time.sleep(1.6)
    require_all_answered(answers, 10)
    assert (cluster.seen(1, "DOWN"), cluster.seen(2, "DOWN")) == downs


def test_another_version_one_after_the_other(cluster: Cluster, artifact: Artifact) -> None:
    with cluster.load() as answers:
        version = add_version(cluster.root, artifact).manifest.version
        for number in (1, 2):
            said = cluster.log(f"server-{number}.log").count(f"serving patterns version {version}")
            cluster.processes[number].send_signal(signal.SIGHUP)
            cluster.wait(f"server-{number}.log", f"serving patterns version {version}", said + 1)
            assert cluster.version(number) == version
        changed = time.monotonic()
    require_all_answered(answers, 10)
    assert {number for _, _, number, *_ in answers} == {version - 1, version}
    # A request that began earlier is answered by the version that accepted it, even after newer answers to others.
    assert {number for _, _, number, _, begun in answers if float(str(begun)) > changed} == {version}


@pytest.mark.slow
def test_one_is_stopped(cluster: Cluster) -> None:
    with cluster.load() as answers:
        downs = cluster.seen(1, "DOWN")
        cluster.processes[1].terminate()
        cluster.wait_seen(1, "DOWN", downs + 1)
        assert cluster.processes[1].poll() is None  # it still serves accepted requests
        assert cluster.processes[1].wait(30) == 0
    require_all_answered(answers, 10)
    assert "Traceback" not in cluster.log("server-1.log")


def test_the_balancer_s_limits_are_the_server_s() -> None:
    text, settings = CONFIGURATION.read_text(), Settings()
    assert f"req.body_size gt {settings.max_body_bytes} " in text
    assert float(re.findall(r"timeout http-request (\d+)s", text)[0]) <= settings.request_timeout
    assert float(re.findall(r"timeout server (\d+)s", text)[0]) > settings.request_timeout


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_errors_without_a_server_have_the_server_s_format(tmp_path: Path) -> None:
    if (haproxy := find_haproxy()) is None:
        pytest.skip("expected HAProxy: make hosts")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = tmp_path / "haproxy.cfg"
    text = CONFIGURATION.read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    configuration.write_text(text.replace("http-request 20s", "http-request 1s"))
    servers = {"SERVER_1": "127.0.0.1:1", "SERVER_2": "127.0.0.1:2"}
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen([haproxy, "-db", "-f", configuration], env=os.environ | servers) as process:
        try:
            wait_until(lambda: is_listening(port))
            wait_until(lambda: httpx2.get(f"{address}/ready").status_code == 503)
            for method, path in (("POST", "/classify"), ("DELETE", "/images/1"), ("GET", "/info")):
                answer = httpx2.request(method, address + path, timeout=30)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, OverloadedError.code)
                assert answer.headers["Retry-After"] == "2"
            with socket.create_connection(("127.0.0.1", port)) as late:
                late.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
                received = late.makefile("rb").read()
            assert received.startswith(b"HTTP/1.1 408 ")
            body = json.loads(received.partition(b"\r\n\r\n")[2])
            assert body["error"]["code"] == RequestTimeoutError.code
        finally:
            process.terminate()


SEND = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
method, path, length, sent = sys.argv[1:]
connection.putrequest(method, path)
connection.putheader("Content-Length", length)
connection.putheader("X-Forwarded-Prefix", "/elsewhere")
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
        ("GET", "/metrics/", 0, 0, "404 not available through the load balancer"),
        ("POST", "/reload%2F", 0, 0, "404 not available through the load balancer"),
        ("POST", "/index/compact", 0, 0, "404 not available through the load balancer"),
        ("GET", "/index%2Fcompact/", 0, 0, "404 not available through the load balancer"),
        ("POST", "/sync?dry_run=true", 0, 0, "404 not available through the load balancer"),
        ("GET", "/ready/", 0, 0, "200 ready"),
        ("GET", "/ready", 0, 0, "200 ready"),
        ("GET", "/info", 0, 0, '200 .*"patterns"'),
        ("DELETE", "/images/1", 0, 0, "409 .*read_only_index"),
    ],
)
def test_what_passes(cluster: Cluster, method: str, path: str, length: int, sent: int, expected: str) -> None:
    assert re.match(expected, cluster.client.run(sys.executable, "-c", SEND, method, path, length, sent))


def test_a_client_sets_no_prefix(cluster: Cluster) -> None:
    """Addresses in responses would begin with it, so the balancer removes the client's header."""
    assert '"similar":"/images/1/similar"' in cluster.client.run(sys.executable, "-c", SEND, "GET", "/images/1", 0, 0)
