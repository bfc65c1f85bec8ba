"""A server with all it can hold: health and metrics answer at once, others are told when to come back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from model.artifacts.artifact import Artifact
from tests.helpers.server import served

CLIENTS, LIMIT = 40, 8


def test_health_answers_under_any_load(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    data = (images / "checks" / "01.jpg").read_bytes()
    files = [("image", ("a", data))] * 16  # 160 crops a request
    environment = {"ALEXNET_MAX_CONCURRENT_REQUESTS": str(LIMIT), "ALEXNET_MAX_QUEUED_CROPS": "2000"}
    with served(artifact, tmp_path, environment) as (url, _), ThreadPoolExecutor(CLIENTS) as pool:

        def ask(_: int) -> httpx2.Response:
            return httpx2.post(f"{url}/classify", files=files, timeout=120)

        under_way = [pool.submit(ask, number) for number in range(CLIENTS)]
        slowest = 0.0
        while not all(future.done() for future in under_way):
            for path in ("/live", "/ready", "/metrics", "/v2/health/ready"):
                begun = time.monotonic()
                assert httpx2.get(url + path, timeout=10).status_code == 200
                slowest = max(slowest, time.monotonic() - begun)
        answers = [future.result() for future in under_way]
    assert slowest < 2
    taken = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(taken) >= LIMIT
    assert refused
    assert len(taken) + len(refused) == CLIENTS
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert all(len(answer.json()) == 16 for answer in taken)
