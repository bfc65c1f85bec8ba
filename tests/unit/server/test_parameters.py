"""Parameters: unknown, repeated and misplaced ones are refused on every route, wherever they are sent."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from server.app import ROUTERS
from server.parameters import unknown_name_error

ROUTES = [
    (method, re.sub(r"\{.*?\}", "1", route.path))
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
]


def message(response: object) -> str:
    assert response.status_code == 422, response.text  # type: ignore[attr-defined]
    error = response.json()["error"]  # type: ignore[attr-defined]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_ignores_a_parameter(client: TestClient, method: str, path: str) -> None:
    json = {"label": "x"} if method == "PATCH" else None
    response = client.request(method, f"{path}?nonsense=1", json=json)
    if response.status_code != 403:  # /reload, which this server allows nobody
        assert "unknown query parameter 'nonsense'" in message(response)


def test_the_nearest_name_is_named(client: TestClient, jpeg: bytes) -> None:
    for response in (
        client.post("/similar?top_k=20", content=jpeg),
        client.get("/images/1/similar?top_k=20"),
        client.get("/images/1/similar?K=20"),
    ):
        known = "cursor, id, k, key, label, max_distance, minus, minus_key, search"
        assert f"did you mean 'k'? Known names: {known}" in message(response)
    form = client.post("/images", files={"image": jpeg}, data={"lable": "cat"})  # codespell:ignore
    assert "unknown form field 'lable': did you mean 'label'?" in message(form)  # codespell:ignore
    assert "unknown form field 'photo': known names: crops, image, top" in message(
        client.post("/classify", files={"photo": jpeg})
    )
    assert "unknown JSON field 'url': known names: crops, image, top" in message(
        client.post("/classify", json={"url": "https://example.org/photo.jpg"})
    )
    assert "did you mean 'image'?" in message(client.post("/classify", json={"images": []}))
    assert "did you mean 'label'?" in message(client.patch("/images/1", json={"labels": "x"}))


def test_of_an_unknown_name_only_the_beginning_is_compared() -> None:
    """A name in JSON may be as long as a body, and difflib lists the positions of each of its characters."""
    name = "ab" * 500_000
    tracemalloc.start()
    try:
        error = unknown_name_error("JSON field", name, ["crops", "image", "top"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(error) == f"unknown JSON field '{name[:80]}': known names: crops, image, top"
    assert peak < len(name)


def test_a_form_carries_what_the_query_does(writable_client: TestClient, new_images: list[bytes]) -> None:
    files = {"image": ("a.jpg", new_images[0])}
    assert len(writable_client.post("/similar", files=files, data={"k": "20"}).json()["neighbors"]) == 20
    assert len(writable_client.post("/classify", files=files, data={"top": "2"}).json()["predictions"]) == 2
    by_id = writable_client.post("/similar", json={"id": [7, 8], "k": 3})
    assert by_id.json() == writable_client.post("/similar?id=7&id=8&k=3").json()
    added = writable_client.post("/images?label=new&key=a", content=new_images[0]).json()["images"][0]
    stored = writable_client.get(f"/images/{added['id']}").json()
    assert (stored["label"], stored["key"]) == ("new", "a")
    added = writable_client.post("/images", files={"image": new_images[1]}, data={"label": "two"}).json()["images"][0]
    assert writable_client.get(f"/images/{added['id']}").json()["label"] == "two"


def test_a_parameter_is_sent_once(client: TestClient, jpeg: bytes) -> None:
    assert "'k' is repeated" in message(client.get("/images/1/similar?k=6&k=7"))
    files = {"image": jpeg}
    assert "'k' is repeated" in message(client.post("/similar", files=files, data={"k": ["6", "7"]}))
    assert "in the query and in the body" in message(client.post("/similar?k=6", files=files, data={"k": "6"}))
    assert client.get("/images/1/similar?minus=2&minus=3").status_code == 200


def test_an_invalid_value_names_its_field(client: TestClient, jpeg: bytes) -> None:
    assert message(client.post("/similar", files={"image": jpeg}, data={"k": "six"})).startswith("field k: ")
    assert message(client.post("/similar?k=six", content=jpeg)).startswith("query k: ")
    assert "not UTF-8" in message(client.get("/images?label=%ff"))


@pytest.mark.parametrize("text", ["", " ", "a\0", "\x1b[31m", "a\nb", " a", "a\u3000", "x" * 201])
def test_labels_and_keys_have_no_control_characters(client: TestClient, new_images: list[bytes], text: str) -> None:
    for name in ("label", "key"):
        response = client.post("/images", files={"image": new_images[0]}, data={name: text})
        assert f"field {name}" in message(response)
    assert "no control characters" in message(client.patch("/images/1", json={"label": text}))
    assert client.get("/images").json()["index"]["size"] == 90


def test_a_label_with_nul_is_refused_wherever_it_is_looked_up(client: TestClient, jpeg: bytes) -> None:
    """No index can store such a label, and PostgreSQL refuses to look for one."""
    for method, path, body in (
        ("GET", "/images?label=a%00", {}),
        ("DELETE", "/images?label=a%00", {}),
        ("PATCH", "/images", {"json": {"with_label": "a\0", "removed": True}}),
        ("GET", "/images/1/similar?label=a%00", {}),
        ("POST", "/similar", {"files": {"image": jpeg}, "data": {"label": "a\0"}}),
    ):
        assert "it contains a NUL character" in message(client.request(method, path, **body)), path


def test_each_fault_of_a_request_has_a_code_of_its_own(client: TestClient, jpeg: bytes) -> None:
    codes = [
        client.post("/classify").json()["error"]["code"],
        client.patch("/images/1").json()["error"]["code"],
        client.patch("/images/1", content=b'{"label": "x"}').json()["error"]["code"],
        client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "x"}).json()["error"]["code"],
        client.patch("/images/1", json=[]).json()["error"]["code"],
    ]
    assert codes == ["missing_body", "missing_body", "invalid_header", "invalid_header", "invalid_body"]
