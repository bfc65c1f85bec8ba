"""Threads: a catalog that another program locks keeps neither health nor reads nor the decoder waiting."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index.folder.store import FolderIndex
from server.exceptions import OverloadedError
from server.service import Service
from server.workers import threads
from server.workers.threads import MAX_WORK_PER_THREAD, WRITE_THREADS, ThreadPool
from tests.helpers.polling import wait_until


def test_changes_that_wait_keep_nothing_else_waiting(
    writable_service: Service, writable_client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "STALLED_SECONDS", 0.2)
    index, locked = writable_service.current.require_index(), threading.Event()
    monkeypatch.setattr(index, "change_many", lambda *_: locked.wait(20))
    count = MAX_WORK_PER_THREAD * WRITE_THREADS + 4
    with ThreadPoolExecutor(count) as pool:

        def update(_: int) -> Any:
            return writable_client.patch("/images/1", json={"label": "x"}, headers={"X-Request-Timeout": "1"})

        waiting = [pool.submit(update, number) for number in range(count)]
        wait_until(lambda: writable_service.writers.stalled_seconds > 0.2)
        begun = time.monotonic()
        refused = writable_client.patch("/images/2", json={"label": "y"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert "an earlier change to the index has been running for" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"  # STALLED_SECONDS, in whole seconds
        for path in ("/live", "/ready", "/labels", "/images/1", "/images/1/thumbnail", "/metrics", "/info"):
            assert writable_client.get(path).status_code == 200, path
        assert writable_client.post("/similar?k=1", content=jpeg).status_code == 200
        assert time.monotonic() - begun < 5
        assert {future.result().status_code for future in waiting} == {503, 504}
        locked.set()
    wait_until(lambda: writable_service.writers.stalled_seconds == 0)
    monkeypatch.undo()
    assert writable_client.patch("/images/1", json={"label": "x"}).status_code == 200


def test_a_file_that_became_huge_is_given_up(
    writable_service: Service, writable_client: TestClient, tmp_path: Path
) -> None:
    index = writable_service.current.require_index()
    path, entry = tmp_path / "image.jpg", index.entry(1)
    assert entry.source is not None
    assert isinstance(index, FolderIndex)
    shutil.copy(entry.source, path)
    index.move([(1, str(path), entry.label)])
    with path.open("r+b") as file:
        file.truncate(200 * 1024**3)  # sparse
    answers = [writable_client.get("/images/1/image", headers={"X-Request-Timeout": "0.3"}) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {504}
    wait_until(lambda: writable_service.file_readers.stalled_seconds == 0)  # its threads are free again


def test_work_beyond_the_limit_is_refused_and_what_was_cancelled_is_not_kept() -> None:
    class Data:
        """A request's data."""

    pool, begun, release, data = ThreadPool(1, "test", max_work=2), threading.Event(), threading.Event(), Data()
    kept = weakref.ref(data)
    done = list[str]()

    def occupy() -> None:
        begun.set()
        assert release.wait(20)

    first = pool.submit(occupy)
    assert begun.wait(20)
    second = pool.submit(lambda own=data: done.append(repr(own)))  # type: ignore[misc]
    del data
    with pytest.raises(OverloadedError, match="too many requests are waiting for the disk"):
        pool.submit(lambda: None)
    assert second.cancel()
    gc.collect()
    assert kept() is None  # even while the thread is busy
    third = pool.submit(lambda: done.append("third"))
    release.set()
    first.result(20)
    third.result(20)
    assert done == ["third"]
    pool.close()


def test_closing_leaves_out_what_has_not_begun() -> None:
    pool, begun, release = ThreadPool(1, "test"), threading.Event(), threading.Event()

    def occupy() -> None:
        begun.set()
        assert release.wait(20)

    first = pool.submit(occupy)
    assert begun.wait(20)
    second = pool.submit(lambda: None)
    closing = threading.Thread(target=pool.close)
    closing.start()
    try:
        wait_until(second.cancelled, 5)
    finally:
        release.set()
        closing.join(20)
    assert first.done()
    assert not first.cancelled()
