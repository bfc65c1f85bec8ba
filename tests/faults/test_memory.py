"""After a burst of large images, broken ones and bodies that are no images, the server's memory shrinks again."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from model.artifacts.artifact import Artifact
from tests.helpers.polling import wait_until
from tests.helpers.server import served

pytestmark = pytest.mark.exclusive


def phone_image() -> bytes:
    """A JPEG of 12 megapixels."""
    blocks = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((4000, 3000)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_returns_after_a_burst(bundled: Artifact, tmp_path: Path) -> None:
    """With a network of full size, so that the 10 % allowed are a share of what a real server holds."""
    large, small = phone_image(), io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(small, "PNG")
    bodies = [large, large, large[: len(large) // 2], b"no image"] * 10

    with served(bundled, tmp_path, {}) as (url, pid), ThreadPoolExecutor(len(bodies)) as clients:

        def ask(body: bytes) -> int:
            return httpx2.post(f"{url}/classify", content=body, timeout=120).status_code

        for _ in range(5):  # several at once, so that the network has allocated for two images
            assert 200 in set(clients.map(ask, [small.getvalue()] * 6))
        before = resident(pid)
        statuses = list(clients.map(ask, bodies))
        assert set(statuses) - {503} == {200, 415, 422}  # one client gets half of the slots
        wait_until(lambda: resident(pid) < 1.1 * before, seconds=10)
