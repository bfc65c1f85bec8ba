"""SIGTERM under load: the server first says that it isn't ready, and answers every accepted request."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import grpc
import httpx2

from model.artifacts.artifact import Artifact
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET, served, wait_until_ready


def test_nothing_accepted_is_lost(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, data = f"http://127.0.0.1:{port}", (images / "checks" / "01.jpg").read_bytes()
    command = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", str(port)]
    log = (tmp_path / "log").open("w")
    environment = {"ALEXNET_DRAIN_SECONDS": "4", "ALEXNET_LOG_FORMAT": "json"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ | environment) as server:
        wait_until_ready(url, server)
        statuses: list[object] = []
        over = threading.Event()

        def is_draining() -> bool:
            ready = httpx2.get(f"{url}/ready")
            of_model = httpx2.get(f"{url}/v2/models/patterns/ready")
            assert of_model.json()["ready"] == (of_model.status_code == 200)
            if ready.status_code == 503:
                assert of_model.status_code == 503
            return (ready.status_code, ready.json()["status"]) == (503, "draining")

        def ask() -> None:
            with httpx2.Client() as client:
                while not over.is_set():
                    try:
                        statuses.append(client.post(f"{url}/classify", content=data, timeout=30).status_code)
                    except httpx2.TransportError as error:
                        statuses.append(repr(error))
                        return

        def ask_for_many() -> None:
            files = [("image", ("a", data))] * 8
            try:
                statuses.append(httpx2.post(f"{url}/classify", files=files, timeout=30).status_code)
            except httpx2.TransportError as error:
                statuses.append(repr(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) >= 4)
        server.send_signal(signal.SIGTERM)
        wait_until(is_draining)
        over.set()  # a balancer stops sending when it sees that
        last = threading.Thread(target=ask_for_many)  # under way when the listener closes
        last.start()
        assert server.wait(60) == 0
        for thread in (*threads, last):
            thread.join(30)
    log.close()
    assert len(statuses) >= 5
    assert set(statuses) == {200}
    lines = (tmp_path / "log").read_text()
    assert lines.count('"path": "/classify", "status": 200') == len(statuses)
    assert "Traceback" not in lines


def test_grpc_takes_no_calls_while_accepted_requests_are_finished(artifact: Artifact, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def answers() -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            try:
                return bool(call(b"", timeout=2))
            except grpc.RpcError:
                return False

    with served(artifact, tmp_path, {"ALEXNET_GRPC_PORT": str(port)}) as (url, process):
        host, _, http_port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(http_port))) as upload:
            upload.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nno ")
            assert answers()
            os.kill(process, signal.SIGTERM)
            wait_until(lambda: not answers(), 8)
            upload.sendall(b"image.")
            assert upload.recv(100).startswith(b"HTTP/1.1 415")
        wait_until(lambda: ") Z " in Path(f"/proc/{process}/stat").read_text(), 15)  # a second SIGTERM would kill it
