"""Several writers, and kills of PostgreSQL and its clients: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.backends import IndexUri, open_or_create, open_readonly, open_writable
from index.postgres.address import PostgresAddress
from index.protocol import Index
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import IndexUnavailableError
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.backends import ZERO, entry, make_artifact
from tests.helpers.indexes import random_feature
from tests.helpers.polling import wait_until
from tests.helpers.postgres import PostgresServer

pytest.importorskip("psycopg", reason="pip install --group postgres-test")
ROOT = Path(__file__).parents[2]
ADD_FOREVER = """
import itertools, sys
from index.backends import IndexUri, open_writable
from tests.helpers.backends import entry
from tests.helpers.indexes import random_feature
index = open_writable(IndexUri.parse(sys.argv[1]))
for number in itertools.count():
    (result,) = index.add(random_feature(number), [entry(number, "a")])
    print(number, result.id, flush=True)
"""


@pytest.fixture
def uri(postgres: PostgresServer) -> IndexUri:
    uri = IndexUri.parse(postgres.new_index())
    open_or_create(uri, make_artifact()).close()
    return uri


def add_until_lost(index: Index, acknowledged: dict[int, int], numbers: range) -> None:
    for number in numbers:
        try:
            (result,) = index.add(random_feature(number), [entry(number)])
        except IndexUnavailableError:
            return
        acknowledged[number] = result.id


def check_stored(index: Index, acknowledged: dict[int, int]) -> None:
    for number, image_id in acknowledged.items():
        assert index.catalog.sha256(image_id) == entry(number).sha256
        assert index.search(Query(random_feature(number)[0], 1))[0].entry.id == image_id


@pytest.mark.slow
def test_postgres_is_killed_while_images_are_added(postgres: PostgresServer, uri: IndexUri) -> None:
    """Everything acknowledged is kept, and the open indexes work again when PostgreSQL is back."""
    acknowledged: list[dict[int, int]] = [{}, {}]
    with closing(open_writable(uri)) as first, closing(open_writable(uri)) as second, ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(add_until_lost, index, acknowledged[number], range(number, 10**9, 2))
            for number, index in enumerate((first, second))
        ]
        wait_until(lambda: min(map(len, acknowledged)) > 5)
        postgres.kill()
        for future in done:
            future.result()
        with pytest.raises(IndexUnavailableError, match="try again in a moment"):
            first.search(Query(ZERO, 1))
        postgres.start()
        wait_until(lambda: can_be_read(first) and can_be_read(second))
        check_stored(first, acknowledged[0] | acknowledged[1])
        assert second.add(random_feature(1), [entry(1)])[0].status == "exists"
        assert second.verify() == {}  # type: ignore[attr-defined]


def can_be_read(index: Index) -> bool:
    try:
        index.labels()
    except IndexUnavailableError:
        return False
    return True


def test_a_writer_is_killed(uri: IndexUri) -> None:
    address: PostgresAddress = uri.location  # type: ignore[assignment]
    command = [sys.executable, "-c", ADD_FOREVER, f"{address.connection_uri}&schema={address.schema}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(10)]
        writer.kill()
        lines += writer.stdout.readlines()
    pairs = [line.split() for line in lines if line.endswith("\n")]
    with closing(open_writable(uri)) as index:
        check_stored(index, {int(number): int(image_id) for number, image_id in pairs})
        assert index.add(random_feature(10**6), [entry(10**6)])[0].status == "added"


def test_several_writers_add_the_same_images(uri: IndexUri) -> None:
    """The same bytes are one image with one id, whoever adds them; a reader that pages meanwhile misses no image."""
    numbers = list(range(40))
    ids_by_number: list[dict[int, int]] = [{}, {}, {}]

    def add_all(index: Index, writer: int) -> None:
        for number in numbers if writer % 2 else reversed(numbers):
            ids_by_number[writer][number] = index.add(random_feature(number), [entry(number, key=f"k{number}")])[0].id

    seen: set[int] = set()
    stopping = threading.Event()

    def follow(reader: Index) -> None:
        after = 0
        while not (stopping.is_set() and after == max(seen)):
            for image in reader.catalog.page(after, 10):
                seen.add(image.id)
                after = image.id

    with (
        closing(open_writable(uri)) as first,
        closing(open_writable(uri)) as second,
        closing(open_readonly(uri)) as reader,
        ThreadPoolExecutor(4) as pool,
    ):
        follower = pool.submit(follow, reader)
        writers = [pool.submit(add_all, index, number) for number, index in enumerate((first, second, second))]
        for future in writers:
            future.result()
        stopping.set()
        follower.result()
        assert ids_by_number[0] == ids_by_number[1] == ids_by_number[2]
        assert seen == set(ids_by_number[0].values()) == {image.id for image in reader.catalog.iter_entries()}
        check_stored(reader, ids_by_number[0])


def serve(artifact: Artifact, uri: str) -> TestClient:
    return TestClient(create_app(Service(Settings(artifact=artifact.path, index=uri))))


def test_servers_that_lose_the_database(
    postgres: PostgresServer, artifact: Artifact, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What one server adds, the other finds; without the database, 503 with Retry-After; then all is as before."""
    uri = postgres.new_index().replace("postgres@", "postgres:s3cret@")
    data = [path.read_bytes() for path in sorted(images.glob("*/0[0-3].jpg"))]
    with serve(artifact, uri) as first, serve(artifact, uri) as second:
        ids = [first.post("/images?label=a", content=one).json()["images"][0]["id"] for one in data[:6]]
        near = second.post("/similar?label=a", content=data[2]).json()
        assert (near["neighbors"][0]["id"], near["total"], near["index"]["size"]) == (ids[2], 6, 6)
        postgres.kill()
        for method, path in (
            ("GET", "/images"),
            ("GET", f"/images/{ids[0]}/thumbnail"),
            ("DELETE", f"/images/{ids[0]}"),
        ):
            refused = first.request(method, path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "index_unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        assert first.post("/similar", content=data[0]).status_code == 503
        assert "alexnet_index_images NaN" in first.get("/metrics").text
        assert first.post("/classify", content=data[0]).status_code == 200
        assert first.get("/ready").status_code == 200
        postgres.start()
        for client in (first, second):
            wait_until(lambda client=client: client.get("/images").status_code == 200)  # type: ignore[misc]
            assert client.get("/images").json()["total"] == 6
        assert first.delete(f"/images/{ids[0]}").status_code == 204
        assert second.get(f"/images/{ids[0]}").status_code == 404
    assert "s3cret" not in caplog.text
