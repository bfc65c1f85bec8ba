"""Another version takes over while requests run: no request fails, and a broken version is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact, Manifest
from model.artifacts.writer import publish
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET, add_version

ADMIN = {"X-API-Key": "a" * 16}
READ = {"X-API-Key": "r" * 16}
KEYS = f"admin:{'a' * 16},read:{'r' * 16}"


@pytest.fixture
def root(artifact: Artifact, tmp_path: Path) -> Path:
    add_version(tmp_path / "artifacts", artifact)
    return tmp_path / "artifacts"


@pytest.fixture
def client(root: Path, tmp_path: Path) -> Iterator[TestClient]:
    service = Service(Settings(artifact=root, home=tmp_path, keys=KEYS))
    with TestClient(create_app(service), raise_server_exceptions=False) as test_client:
        yield test_client


@pytest.mark.parametrize("swaps", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_no_request_fails_while_versions_change(
    client: TestClient, root: Path, artifact: Artifact, images: Path, swaps: int
) -> None:
    data = (images / "checks" / "01.jpg").read_bytes()
    seen: list[tuple[int, int]] = []
    over = threading.Event()
    before = num_inference_threads()

    def ask() -> None:
        while not over.is_set():
            answer = client.post("/classify?crops=1", content=data, headers=READ)
            seen.append((answer.status_code, answer.json().get("model", {}).get("version", 0)))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(swaps):
        version = add_version(root, artifact).manifest.version
        assert version == number + 2
        answer = client.post("/reload", headers=ADMIN)
        assert (answer.status_code, answer.json()) == (200, {"name": "patterns", "version": version})
        assert client.post("/classify", content=data, headers=READ).json()["model"]["version"] == version
        assert client.get(f"/v2/models/patterns/versions/{version}/ready", headers=READ).status_code == 200
    over.set()
    for thread in threads:
        thread.join(20)
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} <= set(range(1, swaps + 2))
    wait_until(lambda: num_inference_threads() <= before)  # those of retired versions end


def num_inference_threads() -> int:
    return sum(thread.name == "inference" for thread in threading.enumerate())


@pytest.mark.parametrize("damage", ["network", "manifest", "half"])
def test_a_broken_artifact_is_refused_and_the_old_one_stays(
    client: TestClient, root: Path, artifact: Artifact, images: Path, damage: str
) -> None:
    new = add_version(root, artifact).path
    if damage == "network":
        content = bytearray((new / "network.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (new / "network.onnx").write_bytes(content)
    elif damage == "manifest":
        (new / "manifest.json").write_text((new / "manifest.json").read_text().replace('"bytes"', '"byte"'))
    else:
        (new / "labels.json").unlink()
    answer = client.post("/reload", headers=ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_failed")
    assert str(root) not in answer.text
    data = (images / "checks" / "01.jpg").read_bytes()
    assert client.post("/classify", content=data, headers=READ).json()["model"]["version"] == 1
    assert client.get("/ready").status_code == 200


def test_an_index_of_another_network_is_refused(artifact: Artifact, index_path: Path, root: Path, images: Path) -> None:
    service = Service(Settings(artifact=root, index=index_path, keys=KEYS))
    with TestClient(create_app(service), raise_server_exceptions=False) as client:

        def other(folder: Path) -> Manifest:
            content = artifact.network_path.read_bytes()
            (folder / "network.onnx").write_bytes(content.replace(b"alexnet-server", b"alexnet-servex"))
            return artifact.manifest

        publish(root, "patterns", artifact.labels, other)
        answer = client.post("/reload", headers=ADMIN)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_failed")
        data = (images / "checks" / "01.jpg").read_bytes()
        assert client.post("/similar?k=1", content=data, headers=READ).json()["neighbors"][0]["distance"] == 0


def test_who_may_reload(client: TestClient, artifact: Artifact) -> None:
    assert client.post("/reload").status_code == 401
    assert client.post("/reload", headers=READ).status_code == 403
    with TestClient(create_app(Service(Settings(artifact=artifact.path)))) as open_to_all:
        answer = open_to_all.post("/reload")
        assert answer.status_code == 403
        assert "SIGHUP" in answer.json()["error"]["message"]


def test_sighup(root: Path, artifact: Artifact, tmp_path: Path) -> None:
    command = [str(ALEXNET), "serve", "--artifact", str(root), "--port", "0"]
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output) as server,
        ExitStack() as stack,
    ):
        stack.callback(server.kill)  # also if an assertion fails: the end of the block waits for the server
        _wait_for(log, "serving patterns version 1 on cpu at http://")
        port = log.read_text().split("http://127.0.0.1:")[-1].split()[0].rstrip("/")
        add_version(root, artifact)
        os.kill(server.pid, signal.SIGHUP)
        _wait_for(log, "serving patterns version 2")
        assert httpx2.get(f"http://127.0.0.1:{port}/info").json()["model"]["version"] == 2
        (root / "patterns" / "3").mkdir()
        (root / "patterns" / "3" / "manifest.json").write_text("{")
        os.kill(server.pid, signal.SIGHUP)
        _wait_for(log, "reload failed: ")
        assert httpx2.get(f"http://127.0.0.1:{port}/info").json()["model"]["version"] == 2
        server.terminate()
        assert server.wait(20) == 0


def _wait_for(log: Path, text: str) -> None:
    wait_until(lambda: text in log.read_text(), seconds=60)


def test_versions_in_a_hurry_hand_the_index_on(root: Path, artifact: Artifact, tmp_path: Path, images: Path) -> None:
    """After several reloads at once, the version that serves has the index open, and closes it when the server ends."""
    folder, data = tmp_path / "index", (images / "checks" / "01.jpg").read_bytes()
    FolderIndex.create(folder, artifact).close()
    service = Service(Settings(artifact=root, index=folder, keys=KEYS + f",write:{'w' * 16}"))
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        with ThreadPoolExecutor(4) as together:
            asked = [together.submit(client.post, "/reload", headers=ADMIN) for _ in range(4)]
            assert {answer.result().status_code for answer in asked} == {200}
        wait_until(lambda: sum(thread.name == "retire" for thread in threading.enumerate()) == 0)
        added = client.post("/images", content=data, headers={"X-API-Key": "w" * 16})
        assert added.json()["images"][0]["status"] == "added"
        assert client.get("/images/1/similar", headers=READ).json()["neighbors"][0]["distance"] == 0
    FolderIndex.create(folder, artifact).close()  # nobody holds its lock
