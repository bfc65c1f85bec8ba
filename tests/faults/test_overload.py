"""An overloaded server: health and metrics respond at once; rejected requests are told when to retry."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from model.artifacts.artifact import Artifact
from tests.helpers.server import served

pytestmark = pytest.mark.exclusive

CLIENTS, LIMIT = 20, 4


def test_health_answers_under_any_load(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    data = (images / "checks" / "01.jpg").read_bytes()
    files = [("image", ("a", data))] * 16  # 160 crops per request
    environment = {"ALEXNET_MAX_CONCURRENT_REQUESTS": str(LIMIT), "ALEXNET_MAX_QUEUED_CROPS": "2000"}
    environment["ALEXNET_REQUEST_TIMEOUT"] = "120"  # accepted requests finish, however slow the machine
    with served(artifact, tmp_path, environment) as (url, _), ThreadPoolExecutor(CLIENTS) as pool:

        def classify(_: int) -> httpx2.Response:
            return httpx2.post(f"{url}/classify", files=files, timeout=120)

        requests = [pool.submit(classify, number) for number in range(CLIENTS)]
        slowest = 0.0
        while not all(future.done() for future in requests):
            for path in ("/live", "/ready", "/metrics", "/v2/health/ready"):
                begun = time.monotonic()
                assert httpx2.get(url + path, timeout=10).status_code == 200
                slowest = max(slowest, time.monotonic() - begun)
        answers = [future.result() for future in requests]
    assert slowest < 2
    accepted = [answer for answer in answers if answer.status_code == 200]
    rejected = [answer for answer in answers if answer.status_code == 503]
    assert len(accepted) >= LIMIT // 2 + 1  # one client may hold as many slots as are free
    assert rejected
    assert len(accepted) + len(rejected) == CLIENTS
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in rejected)
    assert all(len(answer.json()) == 16 for answer in accepted)
