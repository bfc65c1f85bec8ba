"""The Python client against a real server: its results, when it tries again, and that nothing is done twice."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from alexnet_client import (
    AddedImage,
    AlexNetServerError,
    AsyncClient,
    Classification,
    Client,
    Features,
    ImageKey,
    Retries,
    ServerUnreachableError,
)
from alexnet_client.responses import IMAGE_ERROR_STATUSES
from alexnet_client.retries import RETRY_STATUSES

from alexnet.classifier import Classifier
from model.artifacts.artifact import Artifact
from tests.helpers.drawings import draw, draw_images, encode
from tests.helpers.errors import all_errors
from tests.helpers.server import served

KEY = "a-key-for-the-tests"


@pytest.fixture(scope="module")
def url(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an index of its own, which asks for a key and takes two requests at once."""
    home = tmp_path_factory.mktemp("client")
    shutil.copytree(index_path, home / "index")
    environment = {
        "ALEXNET_INDEX": str(home / "index"),
        "ALEXNET_MAX_CONCURRENT_REQUESTS": "2",
        "ALEXNET_KEYS": f"write:{KEY}",
    }
    with served(artifact, home, environment) as (address, _):
        yield address


@pytest.fixture
def image() -> bytes:
    return encode(draw("circles", np.random.default_rng()))


def test_every_call(url: str, image: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(image)
    with Client(url, KEY) as client:
        assert client.ready()
        named = client.classify(tmp_path / "image.jpg", top=2)
        assert named.model == ("patterns", 1)
        assert len(named.predictions) == 2
        assert named.predictions[0].probability >= named.predictions[1].probability
        added = client.add(image, labels="mine")
        assert added.status == "added"
        nearest, *_ = client.similar(image, k=3)
        assert (nearest.id, nearest.label) == (added.id, "mine")
        assert client.similar(added.id, k=1)[0].id == added.id
        assert (nearest.similarity, nearest.file) == (1, None)
        paged = list(client.iter_similar(image, page_size=40))
        assert [neighbor.id for neighbor in paged] == [neighbor.id for neighbor in client.similar(image, k=1000)]
        assert client.add([image])[0] == AddedImage(added.id, "exists")
        client.set_label(added.id, None)
        assert dict(client.images(page_size=40))[added.id] is None
        client.remove(added.id)
        assert added.id not in dict(client.images())
        assert client.info()["model"]["name"] == "patterns"


def test_an_image_by_its_key(url: str, image: bytes) -> None:
    key = ImageKey("shelf 3/ä")
    with Client(url, KEY) as client:
        added = client.add(image, keys=key.text)
        (nearest,) = client.similar(key, k=1)
        assert (nearest.id, nearest.key, nearest.distance) == (added.id, key.text, 0)
        assert next(client.iter_similar(key, page_size=1)) == nearest
        client.set_label(key, "mine")
        assert dict(client.images("mine")) == {added.id: "mine"}
        client.remove(key)
        for call in (lambda: client.remove(key), lambda: client.set_label(key, None), lambda: client.similar(key)):
            with pytest.raises(
                AlexNetServerError, match=r"no indexed image has the key 'shelf 3/ä' \(404 unknown_image"
            ):
                call()


def test_several_with_one_that_is_broken(url: str, image: bytes) -> None:
    with Client(url, KEY) as client:
        first, second, third = client.classify([image, image[:900], image])
        assert isinstance(first, Classification)
        assert first == third
        assert isinstance(second, AlexNetServerError)
        assert (second.code, second.request_id != "") == ("invalid_image", True)
        good, bad = client.add([encode(draw("checks", np.random.default_rng())), image[:900]])
        assert isinstance(good, AddedImage)
        assert isinstance(bad, AlexNetServerError)
        assert good.status == "added"
        assert bad.code == "invalid_image"


def test_features_are_those_of_the_program(url: str, artifact: Artifact, image: bytes) -> None:
    classifier = Classifier(artifact)
    with Client(url, KEY) as client:
        first, second = client.features([image, image[:900]])
        (ten,) = client.features([image], crops=10)
    assert isinstance(first, Features)
    assert isinstance(second, AlexNetServerError)
    assert isinstance(ten, Features)
    assert first.model == ("patterns", 1)
    np.testing.assert_allclose(np.array([first.features], "float32"), classifier.features(image), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose([ten.features], classifier.features(image, crops=10), rtol=1e-5, atol=1e-5)

    async def ask() -> Features:
        async with AsyncClient(url, KEY) as client:
            return await client.features(image)

    np.testing.assert_allclose(asyncio.run(ask()).features, first.features, rtol=1e-5, atol=1e-5)


def test_a_refusal_says_what_the_server_said(url: str, image: bytes) -> None:
    with Client(url) as stranger, pytest.raises(AlexNetServerError) as caught:
        stranger.classify(image)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    with Client(url, KEY) as client:
        with pytest.raises(AlexNetServerError, match=r"4711.* \(404 unknown_image, request "):
            client.similar(4711)
        with pytest.raises(AlexNetServerError) as caught:
            client.classify(b"no image")
        assert caught.value.code == "unsupported_image"
        with pytest.raises(AlexNetServerError):
            client.remove(4711)  # at the first attempt, a missing image is an error


def test_it_comes_back_when_the_server_has_time(url: str, image: bytes) -> None:
    """Two requests whose bodies don't end fill the server; once they are gone, the client's later attempt succeeds."""
    held = [socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) for _ in range(2)]
    for connection in held:
        head = f"POST /classify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n\r\nx"
        connection.sendall(head.encode())
    deadline = time.monotonic() + 20
    while True:
        full = httpx2.get(f"{url}/images/1/similar", headers={"Authorization": f"Bearer {KEY}"})
        if full.status_code == 503:
            break
        assert time.monotonic() < deadline
    assert float(full.headers["Retry-After"]) >= 1
    with Client(url, KEY, retries=Retries(attempts=1)) as hasty:
        with pytest.raises(AlexNetServerError) as caught:
            hasty.classify(image)
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
    for connection in held:
        threading.Timer(0.5, connection.close).start()
    begun = time.monotonic()
    with Client(url, KEY) as client:
        assert client.classify(image).predictions
    assert time.monotonic() - begun >= 1  # as Retry-After asked


def test_a_connection_that_breaks_is_made_again() -> None:
    """A server hangs up twice, then says that the image to remove is gone: `remove` succeeds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = [b"", b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        with Client(f"http://127.0.0.1:{port}", retries=Retries(initial_backoff=0.01)) as client:
            client.remove(17)
    with Client(f"http://127.0.0.1:{port}", retries=Retries(attempts=2, initial_backoff=0.01)) as client:
        assert not client.ready()
        with pytest.raises(ServerUnreachableError):
            client.info()


def test_pauses_grow_and_differ() -> None:
    retries = Retries(initial_backoff=1, max_backoff=8)
    pauses = [[retries.pause(attempt, None) for _ in range(50)] for attempt in range(5)]
    for attempt, drawn_ in enumerate(pauses):
        assert 0.5 * min(8, 2**attempt) <= min(drawn_) < max(drawn_) <= min(8, 2**attempt)
    assert retries.pause(0, httpx2.Response(503, headers={"Retry-After": "3"})) >= 3.5
    assert retries.pause(0, httpx2.Response(503, headers={"Retry-After": "300"})) == 8
    for odd in ("Wed, 21 Oct", "-30", "nan"):
        assert 0 <= retries.pause(0, httpx2.Response(503, headers={"Retry-After": odd})) <= 1
    assert 4 <= Retries(max_backoff=8).pause(5000, None) <= 8  # a night of attempts: 2**5000 overflows a float


def test_what_never_was_is_not_removed() -> None:
    """A 503 means that nothing was done: a 404 after it is an error, unlike one after a lost response."""
    head = "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"
    error = '{"error": {"code": "unknown_image", "message": "none"}}'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = [head.format("503 Later", 0, ""), head.format("404 Not Found", len(error), error)]

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer.encode())

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = Client(url, retries=Retries(initial_backoff=0.01))
        with client, pytest.raises(AlexNetServerError, match="404 unknown_image"):
            client.remove(17)


def test_the_asynchronous_one(url: str, tmp_path: Path) -> None:
    """Many requests at once to a server that takes two: all are answered."""
    files = sorted(draw_images(tmp_path / "some", 4, 3).rglob("*.jpg"))

    async def ask() -> tuple[list[Classification], bool]:
        async with AsyncClient(url, KEY, retries=Retries(attempts=12, initial_backoff=0.05)) as client:
            named = await asyncio.gather(*[client.classify(file, top=1) for file in files])
            added = await client.add(files[0])
            return named, (await client.similar(added.id, k=1))[0].id == added.id

    named, result = asyncio.run(ask())
    assert result
    assert len(named) == 12


def test_its_statuses_are_the_server_s() -> None:
    statuses = {error.code: error.status for error in all_errors()}
    for code, status in IMAGE_ERROR_STATUSES.items():
        assert statuses[code] == status
    assert {error.status for error in all_errors() if error.code == "overloaded"} <= set(RETRY_STATUSES)
