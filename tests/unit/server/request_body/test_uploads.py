"""Uploads: forms, JSON and whole bodies, what is wrong with them, and that none touches the disk."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from server.exceptions import InvalidBodyError
from server.request_body.multipart import parse_form
from server.request_body.uploads import Upload, parse_json_upload
from tests.helpers.drawings import encode

MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


def form_part(data: bytes, *headers: bytes, name: bytes = b"image") -> bytes:
    """A form with one part that has no file name."""
    head = b"\r\n".join([b'Content-Disposition: form-data; name="' + name + b'"', *headers])
    return b"--b\r\n" + head + b"\r\n\r\n" + data + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("parameters", "content", "code"),
    [
        ("", b"x", "invalid_header"),
        ("; boundary=b", b"not a form", "invalid_body"),
        ("; boundary=b", b"--b--\r\n", "missing_body"),
        ("; boundary=b", form_part(b"x")[:-9], "invalid_body"),
        ("; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "invalid_body"),
        ("; boundary=b", form_part(b"x", b"Content-Transfer-Encoding: base64"), "invalid_body"),
        ("; boundary=b", form_part(b"x", *[b"X-%d: 1" % number for number in range(20)]), "invalid_body"),
        ("; boundary=b", form_part(b"5", name=b"top"), "missing_body"),
        ("; boundary=b", form_part(b"\xff", name=b"top"), "invalid_body"),
        ("; boundary=b", form_part(bytes(35_601), name=b"top"), "invalid_body"),
        ("; boundary=b", form_part(bytes(35_601), name=b'top"; filename="x'), "invalid_body"),
        ("; boundary=b", form_part(bytes(35_601), name=b'photo"; filename="x'), "invalid_request"),
        ("; boundary=" + "b" * 300, b"--b--\r\n", "invalid_body"),
        ("; boundary=b; charset=utf-16", form_part(b"x"), "invalid_header"),
    ],
)
def test_bad_forms(client: TestClient, parameters: str, content: bytes, code: str) -> None:
    headers = {"content-type": f"multipart/form-data{parameters}"}
    answer = client.post("/classify", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


def test_a_part_without_a_file_name_is_an_image(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=form_part(jpeg), headers=MULTIPART)
    assert answer.json() == client.post("/classify", content=jpeg).json()


def test_the_name_of_a_file_is_no_image(client: TestClient) -> None:
    """`curl -F image=photo.jpg`, where `@photo.jpg` was meant."""
    answer = client.post("/classify", content=form_part(b"photo.jpg"), headers=MULTIPART)
    assert answer.json()["error"]["code"] == "invalid_body"
    assert answer.json()["error"]["message"].endswith("curl sends a file as -F image=@photo.jpg")
    answer = client.post("/classify", content=form_part(b"https://example.org/photo.jpg"), headers=MULTIPART)
    assert answer.json()["error"]["message"].endswith("has a URL: download the image, and send the file")


def test_an_empty_file_is_called_empty(client: TestClient) -> None:
    """The field `image` was sent; only its file is empty."""
    empty = client.post("/classify", files={"image": ("empty.jpg", b"")}).json()["error"]
    assert (empty["code"], empty["message"]) == ("missing_body", "the image is empty: its file has 0 bytes")
    assert client.post("/classify").json()["error"]["message"].startswith("no image was sent: ")


def test_an_empty_file_input_of_a_browser_is_no_image(client: TestClient) -> None:
    disposition = b'Content-Disposition: form-data; name="image"; filename=""'
    body = b"--b\r\n" + disposition + b"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n"
    assert client.post("/similar?id=1&k=1", content=body, headers=MULTIPART).status_code == 200
    assert client.post("/similar", content=body, headers=MULTIPART).json()["error"]["code"] == "missing_body"


@pytest.mark.parametrize("charset", ["undefined", "a\x7fb", "utf-16", "rot13", "punycode", "unicode_escape"])
def test_odd_charsets_of_a_form(client: TestClient, charset: str) -> None:
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    answer = client.post("/classify", content=form_part(b"x"), headers={"content-type": kind})
    assert answer.status_code == 422
    assert "send the multipart body in UTF-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; charset="UTF-8"'])
def test_charsets_of_a_form(client: TestClient, jpeg: bytes, charset: str) -> None:
    kind = f"multipart/form-data; boundary=b{charset}"
    assert client.post("/classify", content=form_part(jpeg), headers={"content-type": kind}).status_code == 200


def test_forms_never_touch_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    monkeypatch.setattr("tempfile._TemporaryFileWrapper", full)
    large = encode(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8), "PNG")
    assert len(large) > 2_000_000
    answer = client.post("/classify?crops=1", files={"image": ("large.png", large)})
    assert answer.status_code == 200


def test_json_with_base64_and_data_urls(client: TestClient, jpeg: bytes) -> None:
    text = base64.b64encode(jpeg).decode()
    lines = base64.encodebytes(jpeg).decode()  # as `base64 FILE` writes it
    expected = client.post("/classify?top=1", content=jpeg).json()
    for image in (text, lines, f"data:image/jpeg;base64,{text}", [text]):
        assert client.post("/classify", json={"image": image, "top": 1}).json() == expected
    several = client.post("/classify?top=1", json={"image": [text, f"data:;base64,{text}", "AAAA"]}).json()
    assert several[:2] == [expected, expected]
    assert several[2]["error"]["code"] == "unsupported_image"
    neighbors = client.post("/similar?k=3", content=jpeg).json()
    assert client.post("/similar", json={"image": text, "k": 3, "label": None}).json() == neighbors
    assert client.post("/similar", json={"image": [text, text], "k": "3"}).json()["neighbors"] == neighbors["neighbors"]
    assert client.post("/preview", json={"image": text}).content == client.post("/preview", content=jpeg).content


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[]", "invalid_body"),
        ("{", "invalid_body"),
        ('{"image": 5}', "invalid_body"),
        ('{"image": "not base64"}', "invalid_body"),
        ('{"image": "data:image/png,abc"}', "invalid_body"),
        ('{"image": ["AAAA", null]}', "invalid_body"),
        (json.dumps({"image": ["AAAA"] * 17}), "invalid_body"),
        ("[" * 100_000, "invalid_body"),
        ('{"image": "AAAA", "top": true}', "invalid_body"),
        ('{"image": "AAAA", "top": {"a": 1}}', "invalid_body"),
        ('{"image": "AAAA", "top": 0}', "invalid_request"),
        ('{"image": "AAAA", "top": [1, 2]}', "invalid_request"),
        ('{"image": "AAAA", "top": 1, "top": 2}', "invalid_request"),
        ('{"images": ["AAAA"]}', "invalid_request"),
        ("{}", "missing_body"),
        ('{"image": null}', "missing_body"),
        ('{"image": ""}', "missing_body"),
        ("{" + ",".join(f'"{number}":1' for number in range(20_000)) + "}", "invalid_body"),
        ("{" + ",".join(f'"{min(number, 8998)}":1' for number in range(9000)) + "}", "invalid_request"),
    ],
)
def test_bad_json(client: TestClient, body: str, code: str) -> None:
    answer = client.post("/classify", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), answer.text


def test_blanks_in_base64_take_no_memory() -> None:
    """If split at blanks, each two characters would be a string of 51 bytes."""
    body = b'{"image": "' + b"ab " * 500_000 + b'"}'
    tracemalloc.start()
    try:
        upload = parse_json_upload(body, {}, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(upload.images[0]) == 750_000
    assert peak < 4 * len(body)


def test_other_requests_are_answered_while_json_is_parsed(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Event(), threading.Event()

    def parse(body: bytes, known: Mapping[str, bool], max_images: int) -> Upload:
        begun.set()
        assert answered.wait(30)
        return parse_json_upload(body, known, max_images)

    monkeypatch.setattr("server.dependencies.parse_json_upload", parse)
    document = {"image": base64.b64encode(jpeg).decode()}
    with ThreadPoolExecutor(1) as pool:
        classified = pool.submit(client.post, "/classify", json=document)
        assert begun.wait(30)
        assert client.get("/live").status_code == 200
        answered.set()
        assert classified.result().status_code == 200


def test_parts_of_a_form_are_bounded_and_have_headers_of_their_own() -> None:
    async def stream(body: bytes) -> AsyncIterator[bytes]:
        yield body

    def parse(body: bytes) -> object:
        return asyncio.run(parse_form("multipart/form-data; boundary=B", stream(body), "image", 16))

    first = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n'
    text = b'--B\r\nContent-Disposition: form-data; name="top"\r\n\r\n'
    with pytest.raises(InvalidBodyError, match="has no name"):
        parse(first + b"--B\r\nContent-Type: image/png\r\n\r\ny\r\n--B--\r\n")
    with pytest.raises(InvalidBodyError):
        parse(b"--B\r\nX: " + b"x" * 2100 + b"\r\n" + first[5:] + b"--B--\r\n")
    with pytest.raises(InvalidBodyError, match="too many fields"):
        parse((text + b"\r\n") * (4 * 16 + 101) + b"--B--\r\n")
    with pytest.raises(InvalidBodyError, match="exceed 35,600 bytes"):  # before the last boundary has come
        parse(text + (b"x" * 18_000 + b"\r\n" + text) * 2)
