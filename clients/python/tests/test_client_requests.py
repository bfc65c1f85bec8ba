"""The client without a server: what it sends for every kind of image, and what it makes of responses and errors."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from alexnet_client import (
    AlexNetServerError,
    AsyncClient,
    Client,
    Features,
    ImageKey,
    InvalidInputError,
    Neighbor,
    Retries,
    ServerUnreachableError,
)
from alexnet_client import images as images_module
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
PREDICTION = {"index": 0, "id": "cat", "name": "cat", "probability": 0.75}


def connect(handler: Callable[[httpx2.Request], httpx2.Response], **options: Any) -> Client:
    """A client whose requests are answered by a function."""
    client = Client("http://server", **options)
    client._http = httpx2.Client(base_url="http://server", transport=httpx2.MockTransport(handler))
    return client


def uploads(request: httpx2.Request) -> list[bytes]:
    """The images in a request."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + request.read()).get_payload()
    assert isinstance(parts, list)
    return [part.get_payload(decode=True) for part in parts if part.get_param("name", header="content-disposition") == "image"]  # type: ignore[misc, union-attr]  # fmt: skip  # noqa: E501


def encode(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def test_images_of_every_kind_are_sent_without_loss(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.extend(uploads(request))
        return httpx2.Response(200, json={"model": {"name": "m", "version": 1}, "predictions": [PREDICTION]})

    data = encode(Image.fromarray(PIXELS), "PNG")
    (tmp_path / "image.png").write_bytes(data)
    with connect(answer) as client:
        for image in (tmp_path / "image.png", str(tmp_path / "image.png"), data, Image.fromarray(PIXELS), PIXELS, PIXELS[::-1][::-1]):  # fmt: skip  # noqa: E501
            result = client.classify(image)
            assert (result.predictions[0].name, result.familiar, str(result)) == ("cat", None, " 75.00 %  cat")
    assert sent[:3] == [data] * 3
    for content in sent:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), PIXELS)


def test_a_pil_image_keeps_its_orientation_and_mode() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(encode(Image.fromarray(PIXELS), "JPEG", exif=exif)))
    sent = Image.open(io.BytesIO(images_module.to_bytes(opened)))
    assert (sent.getexif()[0x0112], sent.size) == (6, opened.size)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "HSV", "I", "F"):
        image = Image.fromarray(PIXELS).convert("L" if mode in ("I", "F") else mode).convert(mode)
        again = Image.open(io.BytesIO(images_module.to_bytes(image)))
        assert again.mode == (mode if mode != "HSV" else "RGB")


@pytest.mark.parametrize(("mode", "order"), [("I;16B", ">"), ("I;16L", "<"), ("I;16N", "=")])
def test_a_pil_image_of_16_bits_is_sent_whole_in_either_byte_order(mode: str, order: str) -> None:
    samples = np.linspace(0, 65535, 30, dtype=np.uint16).reshape(6, 5)
    image = Image.frombytes(mode, (5, 6), samples.astype(f"{order}u2").tobytes())
    sent = Image.open(io.BytesIO(images_module.to_bytes(image)))
    assert sent.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(sent), samples)


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa"])
def test_a_pil_image_keeps_its_transparency(mode: str) -> None:
    alpha = Image.fromarray(PIXELS[..., 0])
    straight = Image.merge("LA", [alpha, alpha]) if mode == "La" else Image.merge("RGBA", [alpha] * 4)
    image = straight.convert(mode)
    sent = Image.open(io.BytesIO(images_module.to_bytes(image)))
    np.testing.assert_array_equal(np.asarray(sent.getchannel("A")), PIXELS[..., 0])
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(image.convert(straight.mode)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none.jpg", r"can't read none\.jpg: No such file or directory"),
        (np.zeros((4, 4, 3), np.float32), "height x width x 3 of dtype uint8, not 4x4x3 of float32"),
        (17.5, "a path, bytes, a PIL image or a numpy array, not float"),
        (["a.jpg", None], r"can't read a\.jpg"),
        (io.BytesIO(b"a"), r"not BytesIO; for an open file, pass its path or its read\(\)"),
    ],
)
def test_what_is_no_image_is_not_sent(image: Any, message: str) -> None:
    with connect(lambda request: pytest.fail("sent")) as client, pytest.raises(InvalidInputError, match=message):
        client.classify(image)


def test_several_are_sent_in_batches() -> None:
    sizes, bad = list[int](), b"x" * 60

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent = uploads(request)
        sizes.append(len(sent))
        error = {"code": "invalid_image", "message": "damaged", "request_id": "r"}
        items = [{"error": error} if item == bad else {"predictions": [PREDICTION]} for item in sent]
        if len(sent) > 1:
            return httpx2.Response(200, json=items)
        return httpx2.Response(422 if "error" in items[0] else 200, json=items[0])

    with connect(answer, max_batch_bytes=100) as client:
        results = client.classify([b"a"] * 20 + [bad, bad, b"b" * 20])
        assert [isinstance(result, AlexNetServerError) for result in results] == [False] * 20 + [True, True, False]
        assert sizes == [16, 5, 2]
        assert client.classify([]) == []
        (one,) = client.classify([bad])
        assert isinstance(one, AlexNetServerError)
        with pytest.raises(AlexNetServerError, match=r"damaged \(422 invalid_image, request r\)"):
            client.classify(bad)


def test_features_of_several_have_the_error_of_one_in_its_place() -> None:
    asked: list[httpx2.URL] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url)
        error = {"error": {"code": "invalid_image", "message": "damaged", "request_id": "r"}}
        body = {"model": {"name": "m", "version": 2}, "image": {}, "features": [0.5, 0.0]}
        items = [error if data == b"bad" else body for data in uploads(request)]
        return httpx2.Response(200, json=items if len(items) > 1 else items[0])

    with connect(answer) as client:
        assert client.features(b"a", crops=10) == Features(("m", 2), (0.5, 0.0))
        results = client.features([b"a"] * 16 + [b"bad", b"b"])
        assert client.features([]) == []
    assert [type(result) for result in results] == [Features] * 16 + [AlexNetServerError, Features]
    assert [(url.path, url.params["crops"]) for url in asked] == [("/features", crops) for crops in ("10", "1", "1")]


@pytest.mark.parametrize("field", ["label", "key"])
def test_labels_and_keys_go_with_their_images(field: str) -> None:
    forms: list[list[str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = request.read().decode("latin-1")
        forms.append(
            [part.split("\r\n\r\n")[1].split("\r\n")[0] for part in body.split("--") if f'name="{field}"' in part]
        )
        return httpx2.Response(200, json={"images": [{"id": n, "status": "added", "new": 1} for n in range(len(uploads(request)))]})  # fmt: skip  # noqa: E501

    with connect(answer) as client:
        assert len(client.add([b"a"] * 18, **{f"{field}s": [str(number) for number in range(18)]})) == 18
        assert forms == [[str(number) for number in range(16)], ["16", "17"]]
        assert client.add(b"a", **{f"{field}s": "one"}).status == "added"
        assert forms[-1] == ["one"]
        with pytest.raises(InvalidInputError, match=f"one per image: 2 images, 1 {field}s|key per image: 2 images, 1"):
            client.add([b"a", b"b"], **{f"{field}s": ["one"]})


def test_a_key_takes_the_place_of_an_id() -> None:
    asked: list[tuple[str, str, list[str]]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.method, request.url.path, request.url.params.get_list("key")))
        images = [{"id": 7, "label": None}] if request.url.params.get("key") == "a/ü" else []
        return httpx2.Response(200, json={"images": images, "neighbors": [{"id": 7, "distance": 0, "key": "a/ü"}]})

    with connect(answer) as client:
        client.set_label(ImageKey("a/ü"), "x")
        client.remove(ImageKey("a/ü"))
        assert asked == [
            *(("GET", "/images", ["a/ü"]), ("PATCH", "/images/7", [])),
            *(("GET", "/images", ["a/ü"]), ("DELETE", "/images/7", [])),
        ]
        assert client.similar(ImageKey("a/ü"), key="b")[0].key == "a/ü"
        assert asked[-1] == ("POST", "/similar", ["a/ü", "b"])
        with pytest.raises(AlexNetServerError, match="0 results for 1 images"):
            client.remove(ImageKey("another program"))
        with pytest.raises(InvalidInputError, match=r"an image must be a path, .* not ImageKey"):
            client.classify(ImageKey("a"))  # type: ignore[call-overload]


@pytest.mark.parametrize("call", ["add", "classify"])
def test_a_later_batch_that_fails_loses_no_results(call: str) -> None:
    num_requests = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal num_requests
        num_requests += 1
        if num_requests == 2:
            return httpx2.Response(507, json={"error": {"code": "index_full", "message": "full"}})
        added = [{"id": number, "status": "added"} for number in range(16)]
        return httpx2.Response(200, json={"images": added} if call == "add" else [{"predictions": [PREDICTION]}] * 16)

    with connect(answer) as client:
        with pytest.raises(AlexNetServerError, match="507 index_full") as failed:
            getattr(client, call)([b"a"] * 40)
        assert len(failed.value.partial_results) == 16
        assert not any(isinstance(result, AlexNetServerError) for result in failed.value.partial_results)
        with pytest.raises(InvalidInputError, match="can't read none") as unread:
            getattr(client, call)([b"a"] * 17 + ["none.jpg"])
        assert unread.value.partial_results == failed.value.partial_results
        with pytest.raises(InvalidInputError) as refused:
            getattr(client, call)("none.jpg")
        assert refused.value.partial_results == []


def read_pages(client: Client | AsyncClient, image: Any, **query: Any) -> list[int]:
    """Ids of all neighbors, in pages of two."""
    pages = client.iter_similar(image, page_size=2, **query)
    if not isinstance(pages, AsyncIterator):
        return [neighbor.id for neighbor in pages]

    async def read() -> list[int]:
        return [neighbor.id async for neighbor in pages]

    return asyncio.run(read())


def test_files_are_not_read_in_the_event_loop(tmp_path: Path) -> None:
    """A large file on a slow disk would block all other tasks."""
    threads = list[threading.Thread]()

    class Recorded:
        def __fspath__(self) -> str:
            threads.append(threading.current_thread())
            return str(tmp_path / "image.png")

    (tmp_path / "image.png").write_bytes(encode(Image.fromarray(PIXELS), "PNG"))
    body = {"model": {"name": "m", "version": 1}, "predictions": [PREDICTION]}

    async def ask() -> Any:
        async with AsyncClient("http://server") as client:
            client._http = httpx2.AsyncClient(
                base_url="http://server", transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=body))
            )
            classified = await client.classify(Recorded())
            num_read = len(threads)
            with pytest.raises(AlexNetServerError, match="is something other than alexnet-server at this address"):
                await anext(client.iter_similar(Recorded()))
            assert len(threads) > num_read
            return classified

    assert asyncio.run(ask()).predictions[0].name == "cat"
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_all_pages_are_of_one_image(kind: type[Client | AsyncClient], tmp_path: Path) -> None:
    """A file that has changed would be a different query, for which the server rejects the cursor."""
    path = tmp_path / "image.png"
    path.write_bytes(b"before")
    asked: list[tuple[str, str, list[bytes]]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        path.write_bytes(b"after")
        cursor = request.url.params.get("cursor", "")
        sent = uploads(request) if request.method == "POST" else []
        asked.append((str(request.url.path), cursor, sent))
        assert request.url.params["k"] == "2"
        page = {
            "neighbors": [{"id": len(asked), "distance": 1}],
            "next_cursor": None if cursor == "c2" else f"c{len(asked)}",
        }
        return httpx2.Response(200, json=page)

    client = kind("http://server")
    transport = httpx2.MockTransport(answer)
    http = httpx2.Client if kind is Client else httpx2.AsyncClient
    client._http = http(base_url="http://server", transport=transport)
    assert read_pages(client, path) == [1, 2, 3]
    assert asked == [("/similar", cursor, [b"before"]) for cursor in ("", "c1", "c2")]
    asked.clear()
    assert read_pages(client, np.int64(7)) == [1, 2, 3]
    assert {path for path, *_ in asked} == {"/images/7/similar"}
    for name in ("k", "cursor"):
        with pytest.raises(InvalidInputError, match="give page_size, not k or cursor"):
            read_pages(client, 1, **{name: "2"})


def test_fields_of_newer_and_older_servers() -> None:
    neighbor = {"id": 3, "distance": 1.5, "novel": {}, "attribution": {"author": "A"}, "file": "a.jpg"}
    body = {"neighbors": [neighbor, {"id": 4, "distance": 2}], "total": 2}
    with connect(lambda request: httpx2.Response(200, json=body)) as client:
        first, second = client.similar(1)
    assert first == Neighbor(3, 1.5, None, None, "a.jpg", {"author": "A"})
    assert second == Neighbor(4, 2, None, None, None)
    known = {"predictions": [PREDICTION | {"novel": 1}], "familiarity": 0.01, "familiar": False, "novel": []}
    with connect(lambda request: httpx2.Response(200, content=json.dumps(known))) as client:
        result = client.classify(b"a")
    assert (result.familiarity, result.familiar, result.model) == (0.01, False, ("", 0))


@pytest.mark.parametrize("content", [b"<html>log in</html>", b'{"a": 1}', b"[[]]"])
def test_something_else_answers(content: bytes) -> None:
    """Every error raised is one of the package's own."""
    with connect(lambda _: httpx2.Response(200, content=content)) as client:
        for call in (
            client.classify,
            client.features,
            client.similar,
            client.add,
            lambda image: list(client.iter_similar(image)),
        ):
            with pytest.raises(AlexNetServerError, match="is something other than alexnet-server at this address"):
                call(b"a")
        with pytest.raises(AlexNetServerError, match="is something other than alexnet-server at this address"):
            list(client.images())


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://server:port", None),
        ("http://[::1", None),
        ("http://a..b", None),
        ("http://server", "secret-of-16-chars\n"),
        ("http://server", "schl\u00fcssel"),
        ("http://user:word@server", "secret-of-16-chars"),
    ],
)
def test_what_can_not_be_sent_is_said_at_once(address: str, key: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Client(address, key)
    assert not key or key[:6] not in str(refused.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(InvalidInputError, match="the timeout must be a number of seconds above 0"):
        Client("http://server", timeout=timeout)


def test_a_password_in_the_address_is_not_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        Client(f"http://user:secret@127.0.0.1:{port}", retries=Retries(attempts=1)) as client,
        pytest.raises(ServerUnreachableError, match=rf"can't reach http://127\.0\.0\.1:{port} "),
    ):
        client.info()


@pytest.mark.parametrize("code", ["missing_body", "body_too_large"])
def test_one_bad_image_does_not_end_a_list_also_if_it_is_alone_in_its_request(code: str) -> None:
    """Such as an empty file, or a very large one."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent = uploads(request)
        if sent == [b"bad"]:
            return httpx2.Response(422, json={"error": {"code": code, "message": "bad"}})
        results = [{"predictions": [PREDICTION]}] * len(sent)
        return httpx2.Response(200, json=results if len(results) > 1 else results[0])

    with connect(answer) as client:
        *named, failed = client.classify([b"a"] * 16 + [b"bad"])
        assert not any(isinstance(result, AlexNetServerError) for result in named)
        assert isinstance(failed, AlexNetServerError)
        assert failed.code == code
        with pytest.raises(AlexNetServerError):
            client.classify(b"bad")


def test_text_that_is_not_utf8_is_not_sent() -> None:
    with Client("http://server") as client:
        for call in (
            lambda: client.set_label(1, "\ud800"),
            lambda: client.add(b"a", "\ud800"),
            lambda: client.similar(1, label="\ud800"),
        ):
            with pytest.raises(InvalidInputError, match=r"but it has '\\ud800'"):
                call()
        with pytest.raises(InvalidInputError, match="embedded null byte"):
            client.classify("a\0b")


def test_what_a_server_was_never_asked_to_remove_is_not_removed() -> None:
    """A 404 after a refused connection is an error, unlike a 404 after a lost response."""
    for lost, is_removed in ((httpx2.ReadError("reset"), True), (httpx2.ConnectError("refused"), False)):
        outcomes: list[httpx2.Response | Exception] = [lost, httpx2.Response(404, json={"error": {"code": "none"}})]

        def answer(_: httpx2.Request, outcomes: list[httpx2.Response | Exception] = outcomes) -> httpx2.Response:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        expected = nullcontext() if is_removed else pytest.raises(AlexNetServerError, match="404")
        with connect(answer, retries=Retries(initial_backoff=0.01)) as client, expected:
            client.remove(17)
        assert not outcomes


def test_labels_and_keys_that_are_no_text() -> None:
    with connect(lambda _: httpx2.Response(500)) as client:
        for options in ({"labels": 5}, {"keys": 5}):
            with pytest.raises(InvalidInputError, match="must be a string or a list of strings, not 5"):
                client.add(b"x", **options)  # type: ignore[call-overload]


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(address, retries=Retries(attempts=2, initial_backoff=0.01)) as client:
        assert not client.ready()
        with pytest.raises(ServerUnreachableError, match=rf"^can't reach {address} \(.*refused.*alexnet serve"):
            client.info()
    with pytest.raises(InvalidInputError, match=r"must begin with http:// or https://: 127\.0\.0\.1:8000"):
        Client("127.0.0.1:8000")


@pytest.mark.parametrize("charset", ["base64", "idna", "undefined", "utf-16", "no-such"])
def test_an_error_of_something_else_is_shown_whatever_its_charset(charset: str) -> None:
    headers = {"Content-Type": f"text/plain; charset={charset}"}
    answer = httpx2.Response(500, headers=headers, content=b"caf\xe9" * 100)
    with connect(lambda _: answer) as client, pytest.raises(AlexNetServerError, match="caf\ufffd") as caught:
        client.info()
    assert len(caught.value.message) == 200


@pytest.mark.parametrize("status", [200, 500])
def test_a_response_that_is_damaged_on_its_way_is_an_error_of_the_client(status: int) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"no gzip"))

    with connect(answer) as client:
        with pytest.raises(ServerUnreachableError, match="the response from http://server is damaged"):
            client.info()
        assert not client.ready()


def test_a_slow_server_is_not_asked_again() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        raise httpx2.ReadTimeout("", request=request)

    no_answer = pytest.raises(ServerUnreachableError, match="http://server didn't answer within 5 seconds")
    with connect(answer, timeout=5) as client, no_answer:
        client.classify(b"a")
    assert len(asked) == 1


def test_it_needs_nothing_but_httpx2(tmp_path: Path) -> None:
    script = (
        "import sys, alexnet_client; print(sorted({'alexnet', 'index', 'model', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], 3, [3], {"predictions": None}, {"predictions": [{}]}, {"images": None}, {"images": [3]}),
        *({"images": [{}]}, {"images": [], "next_cursor": 5}, {"neighbors": [{}]}, [{"error": {"code": 1}}]),
        *({"features": [1]}, {"model": {"name": "m", "version": 1}, "features": None}),
        *({"neighbors": [], "next_cursor": "a"}, {"images": [{"error": "x"}]}, b"[" * 5000),
    ],
)
def test_another_programs_answers_are_errors_of_the_client(body: object) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    client = connect(lambda _: httpx2.Response(200, content=content))
    calls: list[Callable[[], object]] = [
        lambda: client.classify(b"x"),
        lambda: client.classify([b"x", b"y"]),
        lambda: client.features(b"x"),
        lambda: client.add(b"x"),
        lambda: client.add([b"x", b"y"]),
        lambda: list(client.iter_similar(b"x")),
        lambda: list(client.images()),
    ]
    for call in calls:
        with pytest.raises(AlexNetServerError, match="is something other than alexnet-server at this address"):
            call()


@pytest.mark.parametrize("ruin", [lambda image: image.close(), lambda image: None], ids=["closed", "cut off"])
def test_a_pil_image_that_cannot_be_read_is_refused(ruin: Callable[[Image.Image], None]) -> None:
    image = Image.open(io.BytesIO(encode(Image.fromarray(PIXELS), "PNG")[:60]))
    ruin(image)
    with pytest.raises(InvalidInputError, match="damaged or closed"):
        images_module.to_bytes(image)


@pytest.mark.parametrize("texts", [[("a", "b")], [None], [5]])
def test_labels_are_texts(texts: list[Any]) -> None:
    with connect(lambda _: httpx2.Response(500)) as client:
        with pytest.raises(InvalidInputError, match=r"labels must be a list of strings, but .* isn't one"):
            client.add([b"image"], labels=texts)
        with pytest.raises(InvalidInputError, match="keys must be a list of strings"):
            client.add([b"image"], keys=texts)


def test_calls_at_once_are_limited() -> None:
    """Others wait: a server refuses a client that sends too many requests."""
    num_open, max_open = 0, 0

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal num_open, max_open
        num_open += 1
        max_open = max(max_open, num_open)
        await asyncio.sleep(0.01)
        num_open -= 1
        return httpx2.Response(200, json={"model": {"name": "m", "version": 1}, "predictions": [PREDICTION]})

    async def ask() -> int:
        async with AsyncClient("http://server", max_concurrent_calls=3) as client:
            client._http = httpx2.AsyncClient(base_url="http://server", transport=httpx2.MockTransport(answer))
            return len(await asyncio.gather(*[client.classify(b"image") for _ in range(20)]))

    assert asyncio.run(ask()) == 20
    assert max_open == 3
    with pytest.raises(InvalidInputError, match="at least 1"):
        AsyncClient("http://server", max_concurrent_calls=0)


def answering(*outcomes: httpx2.Response | Exception, **options: Any) -> Client:
    """A client whose requests have these outcomes, one after the other."""
    left = list(outcomes)

    def answer(_: httpx2.Request) -> httpx2.Response:
        if isinstance(outcome := left.pop(0), Exception):
            raise outcome
        return outcome

    return connect(answer, retries=Retries(initial_backoff=0.01), **options)


def refusal(status: int, code: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"code": code, "message": code}})


def test_only_a_404_of_what_may_be_removed_already_is_no_error() -> None:
    lost = httpx2.ReadError("reset")
    with answering(lost, httpx2.ConnectError("restarting"), refusal(404, "not_found")) as client:
        client.remove(17)
    with answering(lost, refusal(404, "not_found")) as client, pytest.raises(AlexNetServerError, match="404"):
        client.set_label(17, "cat")
    with answering(lost, refusal(403, "forbidden")) as client, pytest.raises(AlexNetServerError, match="403"):
        client.remove(17)


@pytest.mark.parametrize("code", ["unauthorized", "overloaded"])
def test_an_error_that_is_not_of_the_image_ends_a_list_of_one(code: str) -> None:
    with answering(refusal(422, code)) as client, pytest.raises(AlexNetServerError, match=code):
        client.classify([b"a"])


def test_zero_and_no_text_are_sent_and_only_none_is_left_out() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(dict(request.url.params))
        return httpx2.Response(200, json={"neighbors": []})

    with connect(answer) as client:
        client.similar(1, k=0, label="", max_distance=None)
    assert asked == [{"k": "0", "label": ""}]


@pytest.mark.parametrize("status", [401, 404, 429])
def test_only_200_is_ready(status: int) -> None:
    with connect(lambda _: httpx2.Response(status)) as client:
        assert not client.ready()


def test_the_timeout_is_the_connections() -> None:
    with Client("http://server", timeout=7) as client:
        assert client._http.timeout == httpx2.Timeout(7)


def test_a_connection_that_is_not_made_in_time_is_tried_again_and_asked_nothing() -> None:
    late = httpx2.ConnectTimeout("late")
    with answering(late, httpx2.Response(200, json={})) as client:
        assert client.info() == {}
    with answering(late, refusal(404, "not_found")) as client, pytest.raises(AlexNetServerError, match="404"):
        client.remove(17)


def test_batches_have_at_most_so_many_images_and_bytes() -> None:
    assert [len(batch) for batch in images_module.split_batches([b"a" * 5] * 4, 16, 10)] == [2, 2]
    assert [len(batch) for batch in images_module.split_batches([b"a" * 5] * 4, 3, 100)] == [3, 1]
    assert [len(batch) for batch in images_module.split_batches([b"a" * 5, b"a", b"a"], 3, 2)] == [1, 2]
    counts: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        counts.append(len(uploads(request)))
        result = {"predictions": [PREDICTION]}
        return httpx2.Response(200, json={"model": {"name": "m", "version": 1}, "results": [result] * counts[-1]})

    with connect(answer, max_batch_images=2) as client, pytest.raises(AlexNetServerError):
        client.classify([b"a"] * 5)
    assert counts[0] == 2
    with pytest.raises(InvalidInputError, match="at least 1"):
        Client("http://server", max_batch_bytes=0)


def test_bytes_of_every_kind_are_one_image() -> None:
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.extend(uploads(request))
        return httpx2.Response(200, json={"model": {"name": "m", "version": 1}, "predictions": [PREDICTION]})

    with connect(answer) as client:
        for data in (bytearray(b"abc"), memoryview(b"abc")):
            client.classify(data)
    assert sent == [b"abc"] * 2


def test_what_can_not_be_an_address_or_a_pause_is_refused() -> None:
    for address in ("http://server/?a=1", "http://server/#a"):
        with pytest.raises(InvalidInputError, match=r"can't have a query \(\?\) or a fragment \(#\)"):
            Client(address)
    for retries in (Retries(initial_backoff=-1), Retries(max_backoff=float("nan"))):
        with pytest.raises(InvalidInputError, match="0 or more"):
            Client("http://server", retries=retries)


def test_parameters_that_are_too_long_for_an_address_are_refused() -> None:
    with connect(lambda _: httpx2.Response(200, json={})) as client:
        with pytest.raises(InvalidInputError, match="too long"):
            client.remove(ImageKey("x" * 70_000))
        with pytest.raises(InvalidInputError, match="too long"):
            client.similar(1, label="x" * 70_000)

    async def ask() -> None:
        async with AsyncClient("http://server") as client:
            await client.similar(1, label="x" * 70_000)

    with pytest.raises(InvalidInputError, match="too long"):
        asyncio.run(ask())
