"""Searches that wait are answered together; one that is refused is refused alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.entries import NewEntry
from index.folder.store import FolderIndex
from index.search import NearestIds, Position, Query, attach_entries
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError
from server.app import create_app
from server.service import Service
from server.settings import Settings
from server.workers.search import MAX_BATCH_QUERIES, SearchJob, SearchWorker
from tests.helpers.polling import wait_until


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[FolderIndex]:
    made = FolderIndex.create(tmp_path / "i", artifact)
    rows = np.random.default_rng(0).random((100, 64), np.float32)
    made.add(rows, [NewEntry(f"{n:064d}", "ab"[n % 2], None, "PNG", 1, 1, b"jpeg") for n in range(100)])
    yield made
    made.close()


def test_together(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    first, release = threading.Event(), threading.Event()
    search_ids = index.search_ids

    def watched(queries: Sequence[Query]) -> list[NearestIds]:
        asked.append(len(queries))
        first.set()
        release.wait(20)
        return search_ids(queries)

    monkeypatch.setattr(index, "search_ids", watched)
    searches = SearchWorker()
    queries = [Query(np.random.default_rng(n).random(64, np.float32), 3) for n in range(40)]
    queries[7] = Query(queries[7].feature, 3, "a")
    wrong = Query(queries[0].feature, 3, "no such label")
    begun = searches.submit(SearchJob(index, queries[0]))
    assert first.wait(20)
    waiting = [searches.submit(SearchJob(index, query)) for query in queries[1:20]]
    refused, unwanted = searches.submit(SearchJob(index, wrong)), searches.submit(SearchJob(index, queries[20]))
    unwanted.cancel()
    release.set()
    answers = [future.result(20) for future in (begun, *waiting)]
    expected = attach_entries(queries[:20], search_ids(queries[:20]), index.catalog)
    assert [answer.neighbors for answer in answers] == expected
    assert [answer.total for answer in answers] == [50 if query.label else 100 for query in queries[:20]]
    assert answers[0].last == Position(3, expected[0][2].distance, expected[0][2].entry.id)
    with pytest.raises(InvalidRequestError, match="no image in the index has the label"):
        refused.result(20)
    assert asked[:2] == [1, 20]  # 19 and the refused one together; then each alone
    assert len(asked) == 2 + 20
    searches.close()


def test_what_waits_is_answered_before_the_end(index: FolderIndex) -> None:
    searches = SearchWorker()
    futures = [searches.submit(SearchJob(index, Query(np.zeros(64, np.float32), 1))) for _ in range(100)]
    searches.close()
    assert all(future.done() for future in futures)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_thread_turns_liveness_red(
    artifact: Artifact, index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(queries: Sequence[Query]) -> list[NearestIds]:
        raise SystemExit  # ends a thread silently, as nothing else in the worker can

    monkeypatch.setattr(index, "search_ids", die)
    service = Service(Settings(artifact=artifact.path))
    with TestClient(create_app(service)) as client:
        assert client.get("/live").status_code == 200
        with pytest.raises(IndexStoreError, match="the search worker has stopped"):
            service.searcher.submit(SearchJob(index, Query(np.zeros(64, np.float32)))).result(20)
        wait_until(lambda: client.get("/live").status_code == 503)
        assert client.get("/ready").json() == {"status": "search worker stopped"}
        assert (client.get("/live").status_code, client.get("/v2/health/live").json()) == (503, {"live": False})


def test_a_batch_is_of_one_index_and_bounded(
    index: FolderIndex, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    first, release = threading.Event(), threading.Event()
    with closing(FolderIndex.create(tmp_path / "other", artifact)) as other:
        for name, own in (("one", index), ("other", other)):

            def watched(queries: Sequence[Query], name: str = name, own: FolderIndex = own) -> list[NearestIds]:
                asked.append((name, len(queries)))
                first.set()
                assert release.wait(20)
                return FolderIndex.search_ids(own, queries)

            monkeypatch.setattr(own, "search_ids", watched)
        searches, query = SearchWorker(), Query(np.zeros(64, np.float32), 3)
        futures = [searches.submit(SearchJob(index, query))]
        assert first.wait(20)
        futures += [searches.submit(SearchJob(index, query)) for _ in range(MAX_BATCH_QUERIES + 1)]
        futures += [searches.submit(SearchJob(other, query)) for _ in range(2)]
        release.set()
        sizes = [len(future.result(20).neighbors) for future in futures]
        searches.close()
    assert sizes == [3] * (MAX_BATCH_QUERIES + 2) + [0, 0]
    assert asked[:2] == [("one", 1), ("one", MAX_BATCH_QUERIES)]
    assert sum(count for name, count in asked if name == "other") == 2


def test_the_next_page_begins_at_its_rank(index: FolderIndex) -> None:
    searches, query = SearchWorker(), Query(np.zeros(64, np.float32), 3)
    first = searches.submit(SearchJob(index, query)).result(20)
    assert first.last is not None
    second = searches.submit(SearchJob(index, replace(query, after=first.last))).result(20)
    assert second.last is not None
    assert (first.last.rank, second.last.rank) == (3, 6)
    searches.close()
