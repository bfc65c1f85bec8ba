"""Compressed bodies: decompressed within the limits of bodies, even if they come in pieces."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from server.request_body.content_encoding import (
    ACCEPTED_ENCODINGS,
    DECOMPRESSORS,
    MAX_CHUNK_BYTES,
    MAX_SMALL_MEMBERS,
    MIN_MEMBER_BYTES,
    ContentEncodingMiddleware,
    DeflateDecompressor,
)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def zstd(data: bytes) -> bytes:
    compressed: bytes = pytest.importorskip("backports.zstd").compress(data)
    return compressed


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "DEFLATE": raw_deflate, "zstd": zstd,
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODERS)
def test_images_and_forms_and_json(client: TestClient, jpeg: bytes, encoding: str) -> None:
    expected, encode = client.post("/classify", content=jpeg).json(), ENCODERS[encoding]
    form = client.build_request("POST", "/classify", files={"image": jpeg})
    bodies = [(jpeg, "image/jpeg"), (form.read(), form.headers["content-type"])]
    for body, content_type in bodies:
        headers = {"Content-Encoding": encoding, "Content-Type": content_type}
        assert client.post("/classify", content=encode(body), headers=headers).json() == expected
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = client.patch("/images/1", content=encode(b'{"labels": 1}'), headers=headers)
    assert "did you mean 'label'" in answer.json()["error"]["message"]


def test_pieces_and_several_files_in_one(client: TestClient, jpeg: bytes) -> None:
    body = gzip.compress(jpeg[:1000]) + gzip.compress(jpeg[1000:])

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 997):
            yield body[start : start + 997]

    headers = {"Content-Encoding": "gzip"}
    assert client.post("/classify", content=pieces(), headers=headers).status_code == 200


def test_a_bomb_is_refused_before_it_has_opened(client: TestClient) -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)
    answer = client.post("/classify", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.patch("/images/1", content=bomb, headers=headers).status_code == 413
    assert all(len(chunk) <= MAX_CHUNK_BYTES for chunk in DECOMPRESSORS["gzip"]().feed(bomb))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_very_many_small_members_are_refused(client: TestClient, jpeg: bytes, encoding: str) -> None:
    """30 MB of them kept every other request waiting for six seconds."""
    encode = ENCODERS[encoding]
    few = encode(jpeg) + MAX_SMALL_MEMBERS // 2 * encode(b"")
    assert client.post("/classify", content=few, headers={"Content-Encoding": encoding}).status_code == 200
    answer = client.post(
        "/classify", content=(MAX_SMALL_MEMBERS + 1) * encode(b""), headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_body")
    assert "consists of 1,001 gzip members or zstd frames" in answer.json()["error"]["message"]
    large = encode(os.urandom(2 * MIN_MEMBER_BYTES))
    assert sum(map(len, DECOMPRESSORS[encoding]().feed(2000 * large))) == 2000 * 2 * MIN_MEMBER_BYTES


def test_a_compressed_body_is_as_large_as_any_at_most(client: TestClient) -> None:
    """Even one without a Content-Length that decompresses to nothing."""
    header = gzip.compress(b"")[:3] + b"\x10" + gzip.compress(b"")[4:10]  # a comment of any length follows

    def pieces() -> Iterator[bytes]:
        yield header
        for _ in range(40):
            yield b"x" * 2**20

    answer = client.post("/classify", content=pieces(), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress", "<x>"])
def test_an_unknown_encoding_is_named(client: TestClient, jpeg: bytes, encoding: str) -> None:
    answer = client.post("/classify", content=jpeg, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == ACCEPTED_ENCODINGS
    assert "gzip, deflate" in answer.json()["error"]["message"]
    assert client.get("/live", headers={"Content-Encoding": encoding}).status_code == 200


def test_damaged_bodies(client: TestClient, jpeg: bytes) -> None:
    whole = gzip.compress(jpeg)
    for body in (jpeg, whole[:-20], whole[:500] + b"x" + whole[501:], whole + b"x", b""):
        answer = client.post("/classify", content=body, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_body")
    assert client.post("/classify", content=jpeg, headers={"Content-Encoding": "identity"}).status_code == 200


def test_two_headers_are_two_encodings(client: TestClient, jpeg: bytes) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    answer = client.post("/classify", content=gzip.compress(gzip.compress(jpeg)), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize("encode", [zlib.compress, raw_deflate])
def test_deflate_in_single_bytes(encode: Callable[[bytes], bytes]) -> None:
    """The first byte alone tells the format."""
    content, decompressor = os.urandom(3000), DeflateDecompressor()
    pieces = [b"", *(bytes([byte]) for byte in encode(content))]
    assert b"".join(chunk for piece in pieces for chunk in decompressor.feed(piece)) == content
    assert decompressor.complete


def test_others_have_their_turn_between_the_chunks_of_a_body() -> None:
    turns: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["more_body"]:
            turns.append("chunk" if message["body"] else "")

    async def receive_all() -> Message:
        return {"type": "http.request", "body": gzip.compress(bytes(5 * MAX_CHUNK_BYTES)), "more_body": False}

    async def send(message: Message) -> None: ...

    async def other() -> None:
        for _ in range(5):
            turns.append("other")
            await asyncio.sleep(0)

    async def both() -> None:
        scope: Scope = {"type": "http", "method": "POST", "headers": [(b"content-encoding", b"gzip")]}
        await asyncio.gather(ContentEncodingMiddleware(app)(scope, receive_all, send), other())

    asyncio.run(both())
    assert turns.count("chunk") >= 5
    assert "chunk other chunk" in " ".join(turns)


def test_small_members_are_counted_over_the_whole_body() -> None:
    decompressor = DECOMPRESSORS["gzip"]()
    large = gzip.compress(os.urandom(2 * MAX_SMALL_MEMBERS * MIN_MEMBER_BYTES))
    empty = gzip.compress(b"")
    for piece in (large, *[empty] * (MAX_SMALL_MEMBERS + 10)):  # each comes alone; their average size is large
        for _ in decompressor.feed(piece):
            pass
    assert decompressor.complete
