"""The HTTP interface: answers, errors in one shape, and an OpenAPI description that says so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.app import WEB, create_app
from server.service import Service
from server.settings import Settings


@pytest.fixture(scope="module")
def jpeg(images: Path) -> bytes:
    return (images / "stripes" / "04.jpg").read_bytes()


def test_classify_by_form_and_by_body(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    by_form = client.post("/classify", files={"image": ("a.jpg", jpeg, "image/jpeg")})
    by_body = client.post("/classify", content=jpeg, headers={"content-type": "image/jpeg"})
    assert by_form.status_code == by_body.status_code == 200
    answer = by_form.json()
    assert answer == by_body.json()
    assert answer["model"] == {"name": "patterns", "version": 1}
    assert answer["image"] == {
        "format": "JPEG", "width": 340, "height": 300, "mode": "RGB", "orientation": 1, "frames_ignored": False,
    }  # fmt: skip
    expected, _ = model.run(decode_image(jpeg).pixels[None], TEN_CROP)
    got = {entry["class"]: entry["probability"] for entry in answer["predictions"]}
    np.testing.assert_allclose([got[i] for i in range(3)], expected[0], atol=1e-6)
    probabilities = [entry["probability"] for entry in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert answer["predictions"][0]["name"] == "stripes"


def test_top_and_views(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    answer = client.post("/classify?top=1&crops=1", content=jpeg).json()
    expected, _ = model.run(decode_image(jpeg).pixels[None], CENTER_CROP)
    assert len(answer["predictions"]) == 1
    assert answer["predictions"][0]["probability"] == pytest.approx(float(expected.max()), abs=1e-6)


def test_similar_finds_itself_first_at_zero(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/similar", files={"image": ("a.jpg", jpeg, "image/jpeg")}).json()
    neighbors = answer["neighbors"]
    assert len(neighbors) == 6
    assert answer["index"] == {"size": 90, "codes": None}
    assert neighbors[0]["distance"] == 0
    assert [n["distance"] for n in neighbors] == sorted(n["distance"] for n in neighbors)
    assert neighbors[0]["label"] == "stripes"
    assert sum(n["label"] == "stripes" for n in neighbors) >= 5
    again = client.get(f"/images/{neighbors[0]['id']}/similar").json()
    assert again["neighbors"] == neighbors
    assert len(client.post("/similar?k=20", content=jpeg).json()["neighbors"]) == 20


def test_an_indexed_image_its_thumbnail_and_its_file(client: TestClient, jpeg: bytes) -> None:
    first = client.post("/similar?k=1", content=jpeg).json()["neighbors"][0]
    image = client.get(first["url"]).json()
    assert (image["label"], image["format"], image["width"]) == ("stripes", "JPEG", 340)
    thumbnail = client.get(first["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert decode_image(thumbnail.content).width == 128
    file = client.get(image["image"])
    assert file.content == jpeg
    assert file.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/classify", b"", 415, "unsupported_image"),
        ("/classify", b"hello", 415, "unsupported_image"),
        ("/classify", b"\xff\xd8\xff\xe0" + bytes(50), 415, "unsupported_image"),
        ("/classify", bytes(5_000_001), 413, "body_too_large"),
        ("/classify?top=0", b"x", 422, "invalid_request"),
        ("/classify?crops=3", b"x", 422, "invalid_request"),
        ("/similar?k=0", b"x", 422, "invalid_request"),
        ("/similar?k=1000000", b"x", 422, "invalid_request"),
        ("/similar?k=six", b"x", 422, "invalid_request"),
        ("/nothing", b"x", 404, "not_found"),
        ("/live", b"x", 405, "method_not_allowed"),
    ],
)
def test_bad_posts(client: TestClient, path: str, content: bytes, status: int, code: str) -> None:
    answer = client.post(path, content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/images/4711", 404, "unknown_image"),
        ("/images/4711/thumbnail", 404, "unknown_image"),
        ("/images/4711/image", 404, "unknown_image"),
        ("/images/4711/similar", 404, "unknown_image"),
        ("/images/99999999999999999999999", 422, "invalid_request"),
        ("/images/0", 422, "invalid_request"),
        ("/images/x", 422, "invalid_request"),
        ("/nothing", 404, "not_found"),
        ("/classify", 405, "method_not_allowed"),
        ("/page/../app.py", 404, "not_found"),
    ],
)
def test_bad_gets(client: TestClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_broken_image_is_422_and_names_no_path(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=jpeg[: len(jpeg) // 2])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_image")
    assert "/" not in answer.json()["error"]["message"]


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
    assert "found photo" in wrong.json()["error"]["message"]
    two = client.post("/v2/models/patterns/infer", files=[("image", ("a.jpg", jpeg)), ("image", ("b.jpg", jpeg))])
    assert two.status_code == 422


def test_several_images_and_the_one_that_is_broken(client: TestClient, jpeg: bytes, images: Path) -> None:
    other = (images / "checks" / "04.jpg").read_bytes()
    files = [("image", ("a", data)) for data in (jpeg, b"no image", other, jpeg[:500])]
    answer = client.post("/classify?top=1", files=files)
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()
    assert first == client.post("/classify?top=1", content=jpeg).json()
    assert third == client.post("/classify?top=1", content=other).json()
    assert second["error"]["code"] == "unsupported_image"
    assert second["error"]["request_id"] == answer.headers["x-request-id"]
    assert fourth["error"]["code"] == "invalid_image"
    too_many = client.post("/classify", files=[("image", ("a", jpeg))] * 17)
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (422, "invalid_body")


def test_where_the_time_went(client: TestClient, jpeg: bytes) -> None:
    phases = {}
    for path in ("/classify", "/similar"):
        header = client.post(path, content=jpeg).headers["server-timing"]
        phases[path] = {part.partition(";")[0]: float(part.partition("=")[2]) for part in header.split(", ")}
    assert list(phases["/classify"]) == ["decode", "queue", "inference", "total"]
    assert list(phases["/similar"]) == ["decode", "queue", "inference", "search", "total"]
    for times in phases.values():
        assert sum(times.values()) - times["total"] <= times["total"]
        assert times["inference"] > 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", ""])
def test_a_timeout_that_is_none(client: TestClient, jpeg: bytes, seconds: str) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": seconds})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_body")


def test_the_time_is_over(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "0.0001"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
    assert client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "20"}).status_code == 200


def test_health_and_info(client: TestClient) -> None:
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json() == {"status": "ready"}
    info = client.get("/info").json()
    assert (info["classes"], info["device"], info["index"]) == (3, "cpu", {"size": 90, "codes": None})
    assert {m["crops"] for m in info["measurements"]} == {1, 10}


def test_the_page_needs_no_other_host_and_is_small(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=", page.text)
    sizes = len(page.content)
    for file in WEB.iterdir():
        answer = client.get(f"/page/{file.name}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), file.name
        assert len(answer.text.splitlines()) <= 200, file.name
        sizes += len(answer.content) if file.name != "index.html" else 0
    assert sizes < 60_000


def test_no_page_may_load_or_send_anywhere_else(client: TestClient) -> None:
    for path in ("/", "/page/app.js", "/images/1/thumbnail", "/nothing"):
        policy = dict(
            part.split(maxsplit=1) for part in client.get(path).headers["content-security-policy"].split("; ")
        )
        assert policy == {
            "default-src": "'self'", "img-src": "'self' blob:", "object-src": "'none'", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'none'",
        }  # fmt: skip


def test_openapi_describes_every_call(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, method in {"/classify": "post", "/similar": "post", "/images/{image_id}": "get"}.items():
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert "200" in operation["responses"]
    body = document["paths"]["/classify"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "image/*", "application/octet-stream"}
    answers = document["paths"]["/classify"]["post"]["responses"]
    assert set(answers) == {"200", "401", "403", "408", "413", "415", "422", "503", "504"}
    for status in ("413", "415", "422", "503"):
        assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    assert document["components"]["schemas"]["Prediction"]["properties"]["name"]["examples"]


def test_without_an_index(artifact: Artifact, jpeg: bytes) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path)))) as bare:
        assert bare.post("/classify", content=jpeg).status_code == 200
        answer = bare.post("/similar", content=jpeg)
        assert answer.status_code == 404
        assert "--index" in answer.json()["error"]["message"]
        assert bare.get("/info").json()["index"] is None


def test_one_request_too_many_is_told_to_come_back(artifact: Artifact, jpeg: bytes) -> None:
    service = Service(Settings(artifact=artifact.path, max_waiting=1))
    with TestClient(create_app(service)) as busy:
        with service.admission.request():
            answer = busy.post("/classify", content=jpeg)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "overloaded"
        assert busy.get("/live").status_code == 200
        assert busy.post("/classify", content=jpeg).status_code == 200
        assert busy.post("/classify", content=b"").status_code == 415
        assert busy.post("/classify", content=jpeg).status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "a\x7fb", "utf-16", "rot13", "punycode", "unicode_escape"])
def test_odd_charsets_of_a_form(client: TestClient, charset: str) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--B--\r\n'
    kind = f"multipart/form-data; boundary=B; charset={charset}"
    answer = client.post("/classify", content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert "expected a multipart body in UTF-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; charset="UTF-8"'])
def test_charsets_of_a_form(client: TestClient, jpeg: bytes, charset: str) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + jpeg + b"\r\n--B--\r\n"
    kind = f"multipart/form-data; boundary=B{charset}"
    assert client.post("/classify", content=body, headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("path", ["/images/1/similar", "/images/1/square", "/images/1/image"])
def test_requests_without_images_have_a_deadline(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"X-Request-Timeout": "1e-7"}).status_code == 504
    assert client.get(path, headers={"X-Request-Timeout": "soon"}).status_code == 422


def test_an_internal_error_has_an_id_and_tells_nothing(artifact: Artifact, jpeg: bytes) -> None:
    service = Service(Settings(artifact=artifact.path))
    with TestClient(create_app(service), raise_server_exceptions=False) as broken:
        service.now.model.run = None  # type: ignore[assignment, method-assign]
        answer = broken.post("/classify", content=jpeg)
        assert answer.status_code == 500
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        assert "NoneType" not in answer.text
