"""Uploads: multipart forms and what is wrong with them."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"not a form"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
    ],
)
def test_bad_forms(client: TestClient, kind: str, content: bytes) -> None:
    answer = client.post("/classify", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_body")


def test_wrong_field_and_two_bodies(client: TestClient, jpeg: bytes) -> None:
    wrong = client.post("/classify", files={"photo": ("a.jpg", jpeg)})
    assert "photo" in wrong.json()["error"]["message"]
    two = client.post("/v2/models/patterns/infer", files=[("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))])
    assert two.status_code == 422


@pytest.mark.parametrize("charset", ["undefined", "a\x7fb", "utf-16", "rot13", "punycode", "unicode_escape"])
def test_odd_charsets_of_a_form(client: TestClient, charset: str) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--B--\r\n'
    kind = f"multipart/form-data; boundary=B; charset={charset}"
    answer = client.post("/classify", content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert "send the multipart body in UTF-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; charset="UTF-8"'])
def test_charsets_of_a_form(client: TestClient, jpeg: bytes, charset: str) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + jpeg + b"\r\n--B--\r\n"
    kind = f"multipart/form-data; boundary=B{charset}"
    assert client.post("/classify", content=body, headers={"content-type": kind}).status_code == 200
