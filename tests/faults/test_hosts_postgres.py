"""Two servers on two hosts share an index on PostgreSQL on a third, while clients add images through the balancer."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from index.backends import IndexUri, open_or_create, open_readonly
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Manifest
from model.artifacts.writer import publish
from tests.helpers.cluster import Cluster, missing_programs
from tests.helpers.hosts import hosts
from tests.helpers.polling import wait_until
from tests.helpers.postgres import PostgresServer, find_programs
from tests.helpers.server import add_version

pytestmark = pytest.mark.exclusive
pytest.importorskip("psycopg", reason="pip install --group postgres-test")

ADD = """
import hashlib, http.client, itertools, json, sys, threading, time

def add(client):
    for number in itertools.count():
        body = image + b"%d %d %d" % (time.time_ns(), client, number)  # other bytes are another image
        status, image_id = None, None
        while status != 200 and not over.is_set():  # adding again is safe
            try:
                connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
                connection.request("POST", "/images", body)
                answer = connection.getresponse()
                status, document = answer.status, json.loads(answer.read())
                image_id = document["images"][0]["id"] if status == 200 else document["error"]["code"]
            except Exception as error:
                status = repr(error)
            print(json.dumps([hashlib.sha256(body).hexdigest(), status, image_id]) + "\\n", end="", flush=True)
            if status != 200:
                time.sleep(0.1)
        if over.is_set():
            return

over = threading.Event()
image = open(sys.argv[1], "rb").read()
threads = [threading.Thread(target=add, args=[client]) for client in range(4)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
"""
ASK = """
import json, sys, time, urllib.request
first, second, name = sys.argv[1:]
image = open(name, "rb").read() + b"%d" % time.time_ns()

def ask(address):
    request = urllib.request.Request(address, image, {"Content-Type": "image/jpeg"})
    return json.loads(urllib.request.urlopen(request, timeout=30).read())

added = ask(f"http://{first}:8000/images")["images"][0]["id"]
begun = time.monotonic()
nearest = [neighbor["id"] for neighbor in ask(f"http://{second}:8000/similar?k=100")["neighbors"]]
print(json.dumps([added in nearest, time.monotonic() - begun]))
"""


@pytest.fixture(scope="module")
def cluster(
    artifact: Artifact, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, PostgresServer, IndexUri]]:
    """The cluster, its database, and the address of the index for this process."""
    programs = find_programs()
    if reason := missing_programs():
        pytest.skip(reason)
    assert programs is not None
    home = tmp_path_factory.mktemp("cluster")
    add_version(home / "artifacts", artifact)
    with hosts(3) as made, ExitStack() as running:
        postgres = PostgresServer(programs, made[2])
        running.callback(postgres.delete)
        schema = "schema=images"
        uri = IndexUri.parse(f"{postgres.uri}&{schema}")
        open_or_create(uri, artifact).close()
        options = ["--index", f"postgresql://postgres@{made[2].address}/postgres?{schema}"]
        cluster = Cluster(home, home / "artifacts", (options, options), made, ADD, [images / "checks" / "01.jpg"])
        running.callback(cluster.stop)
        yield cluster, postgres, uri


Running = tuple[Cluster, PostgresServer, IndexUri]


def check_stored(uri: IndexUri, responses: list[list[object]]) -> None:
    """Check that each acknowledged image is in the index, under the id in its response."""
    acknowledged = {str(sha256): image_id for sha256, status, image_id in responses if status == 200}
    assert len(acknowledged) >= 16  # eight before the fault, eight after it
    with closing(open_readonly(uri)) as index:
        stored = index.catalog.find(list(acknowledged))
        assert {sha256: stored[sha256].id for sha256 in stored} == acknowledged


def test_added_on_one_and_found_on_the_other(cluster: Running) -> None:
    servers, _, _ = cluster
    first, second = (server.address for server in servers.servers)
    for one, other in ((first, second), (second, first)):
        is_neighbor, seconds = json.loads(servers.client.run(sys.executable, "-c", ASK, one, other, servers.images[0]))
        assert is_neighbor
        assert seconds < 1


def test_a_server_is_killed(cluster: Running) -> None:
    servers, _, uri = cluster
    with servers.load() as responses:
        downs, ups = servers.seen(1, "DOWN"), servers.seen(1, "UP")
        servers.processes[1].kill()
        servers.processes[1].wait()
        servers.wait_seen(1, "DOWN", downs + 1)
        servers.serve(1)
        servers.wait_seen(1, "UP", ups + 1)
    assert {status for _, status, _ in responses} == {200}  # requests in flight were sent to the other one
    check_stored(uri, responses)


def test_the_database_is_killed(cluster: Running) -> None:
    servers, postgres, uri = cluster
    with servers.load() as responses:
        postgres.kill()
        servers.wait("answers", "index_unavailable")
        time.sleep(1)
        postgres.start()
    assert {status for _, status, _ in responses} <= {200, 503}
    check_stored(uri, responses)


@pytest.mark.slow
def test_another_model_one_server_after_the_other(cluster: Running, artifact: Artifact) -> None:
    """A model with other features is refused, and the servers keep theirs; one with the same features is accepted."""
    servers, _, uri = cluster

    def with_other_weights(folder: Path) -> Manifest:
        network = onnx.load(artifact.network_path)
        (bias,) = (tensor for tensor in network.graph.initializer if tensor.name == "fc7.bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
        onnx.save(network, folder / "network.onnx")
        return artifact.manifest

    with servers.load() as responses:
        served = artifacts.load(servers.root).manifest.version
        publish(servers.root, "patterns", artifact.labels, with_other_weights)
        for number in (1, 2):
            servers.processes[number].send_signal(signal.SIGHUP)
            servers.wait(f"server-{number}.log", "reload failed: .*a different network")
            assert servers.version(number) == served
        newest = add_version(servers.root, artifact).manifest.version
        for number in (1, 2):
            servers.processes[number].send_signal(signal.SIGHUP)
            wait_until(lambda number=number: servers.version(number) == newest, seconds=60)  # type: ignore[misc]
    assert {status for _, status, _ in responses} == {200}
    check_stored(uri, responses)
