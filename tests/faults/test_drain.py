"""SIGTERM under load: not ready first, and every accepted request is answered."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx2

from model.artifacts.artifact import Artifact
from tests.helpers.polling import wait_until
from tests.helpers.server import ALEXNET, wait_until_ready


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
        over.set()  # as a balancer does when it sees that
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
