"""Similarity search over HTTP: by uploaded and indexed images, with every parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.images.crops import CENTER_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.app import create_app
from server.responses.schemas import similarity
from server.routes.similar import apply_negative_feedback
from server.service import Service
from server.settings import Settings


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


def test_the_image_of_several_that_cannot_be_read_is_named(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/similar", files=[("image", ("a", data)) for data in (jpeg, b"no image")])
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (415, "unsupported_image")
    assert error["message"].startswith("image 2 of 2: not an image in a supported format")
    alone = client.post("/similar", content=b"no image").json()["error"]["message"]
    assert alone.startswith("not an image in a supported format")


def test_a_label_with_a_surrogate_is_refused_before_the_index_is_asked(client: TestClient) -> None:
    body = b'{"id": 1, "label": "\\ud800"}'  # valid in JSON, not in UTF-8: a database fails on it
    answer = client.post("/similar", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert "send valid UTF-8" in answer.json()["error"]["message"]


def test_similarity_is_a_score_of_the_distance(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    neighbors = client.post("/similar?k=90", content=jpeg).json()["neighbors"]
    length = float(np.linalg.norm(model.features(decode_image(jpeg).pixels[None], CENTER_CROP)[0]))
    scores = [neighbor["similarity"] for neighbor in neighbors]
    assert scores[0] == 1
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([1 / (1 + neighbor["distance"] / length) for neighbor in neighbors], rel=1e-6)
    assert (similarity(0, 0), similarity(1, 0), similarity(2, 2)) == (1, 0, 0.5)


def test_file_names_for_all_and_paths_for_administrators(artifact: Artifact, index_path: Path, images: Path) -> None:
    settings = Settings(artifact=artifact.path, index=index_path, keys=f"read:{'r' * 16},admin:{'a' * 16}")
    path = images / "stripes" / "04.jpg"
    with TestClient(create_app(Service(settings))) as keyed:
        for key, expected in (("r", None), ("a", str(path))):
            headers = {"X-API-Key": key * 16}
            (nearest,) = keyed.post("/similar?k=1", content=path.read_bytes(), headers=headers).json()["neighbors"]
            entry = keyed.get(f"/images/{nearest['id']}", headers=headers).json()
            listed = keyed.get(f"/images?limit=1&cursor={nearest['id'] - 1}", headers=headers).json()["images"][0]
            for shown in (nearest, entry, listed):
                assert (shown["file"], shown["path"]) == ("04.jpg", expected)


def test_pages_by_cursor_while_images_are_added_and_removed(
    writable_client: TestClient, new_images: list[bytes]
) -> None:
    def page(cursor: str | None, **options: Any) -> dict[str, Any]:
        parameters = {"k": 10, **options} | ({} if cursor is None else {"cursor": cursor})
        answer = writable_client.post("/similar", params=parameters, content=new_images[0])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    whole = [neighbor["id"] for neighbor in page(None, k=33)["neighbors"]]
    first = page(None)
    assert (first["total"], first["has_more"]) == (33, True)
    added = writable_client.post("/images", files={"image": new_images[0]}).json()["images"][0]["id"]
    writable_client.delete(f"/images/{whole[9]}")
    seen, answer = [neighbor["id"] for neighbor in first["neighbors"]], first
    while answer["has_more"]:
        answer = page(answer["next_cursor"])
        seen += [neighbor["id"] for neighbor in answer["neighbors"]]
    assert seen == whole
    assert added not in seen
    assert (answer["next_cursor"], answer["total"]) == (None, 33)
    num_checks = 11 - (whole[9] <= 11)  # checks: the first eleven ids; the network decided which image was deleted
    label = page(None, k=9, label="checks")
    assert (label["total"], label["has_more"]) == (num_checks, True)
    assert page(None, k=33, label="checks")["has_more"] is False
    for other in ({"label": "checks"}, {"minus": 5}, {"id": 7}, {"search": "binary"}):
        refused = writable_client.post(
            "/similar", params={"cursor": first["next_cursor"], **other}, content=new_images[0]
        )
        assert (refused.status_code, "another query" in refused.text) == (422, True)


def test_without_an_index(artifact: Artifact, jpeg: bytes) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path)))) as bare:
        assert bare.post("/classify", content=jpeg).status_code == 200
        answer = bare.post("/similar", content=jpeg)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_index")
        assert "and restart the server; if it is elsewhere, name it with --index" in answer.json()["error"]["message"]
        assert bare.get("/info").json()["index"] is None


def test_every_way_to_ask(writable_client: TestClient, new_images: list[bytes]) -> None:
    def ids(path: str, **sent: object) -> list[int]:
        answer = writable_client.post(path, **sent)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [neighbor["id"] for neighbor in answer.json()["neighbors"]]

    whole = ids("/similar?k=33", content=new_images[0])
    assert ids("/similar?k=5&label=checks", content=new_images[0]) == [n for n in whole if n <= 11][:5]
    assert ids("/similar?id=7&k=1") == [7]
    assert ids("/similar?id=7&id=8&k=33") == ids("/similar?id=8&id=7&k=33")
    both = [("image", ("a", new_images[0])), ("image", ("b", new_images[1]))]
    assert len(ids("/similar", files=both)) == 6
    assert writable_client.post("/similar", files=both).json()["image"] is None
    away = writable_client.post(f"/similar?minus={whole[0]}&k=33", content=new_images[0]).json()["neighbors"]
    near = writable_client.post("/similar?k=33", content=new_images[0]).json()["neighbors"]
    assert {n["id"]: n["distance"] for n in away}[whole[0]] > near[0]["distance"]
    bound = near[4]["distance"]
    assert ids(f"/similar?k=33&max_distance={bound}", content=new_images[0]) == whole[:5]
    assert writable_client.get("/images/7/similar?minus=9").status_code == 200


def test_indexed_images_are_named_by_their_keys(writable_client: TestClient, new_images: list[bytes]) -> None:
    files = [("image", ("a", data)) for data in new_images[:2]]
    added = writable_client.post("/images", files=files, data={"key": ["a", "b"]}).json()["images"]
    first, second = (image["id"] for image in added)

    def neighbors(method: str, path: str, **sent: Any) -> list[dict[str, Any]]:
        answer = writable_client.request(method, path, **sent)
        assert answer.status_code == 200, answer.text
        return [{"id": one["id"], "distance": one["distance"]} for one in answer.json()["neighbors"]]

    assert neighbors("POST", "/similar?key=a&k=1") == [{"id": first, "distance": 0}]
    for by_key, by_id in (
        ("key=a&key=b", f"id={first}&id={second}"),
        ("id=7&key=b", f"id=7&id={second}"),
        ("id=7&minus_key=a", f"id=7&minus={first}"),
        ("id=7&minus=8&minus_key=b", f"id=7&minus=8&minus={second}"),
    ):
        assert neighbors("POST", f"/similar?{by_key}") == neighbors("POST", f"/similar?{by_id}")
    assert neighbors("GET", "/images/7/similar?key=a") == neighbors("GET", f"/images/7/similar?id={first}")
    assert neighbors("POST", "/similar", json={"key": ["a", "b"]}) == neighbors("POST", "/similar?key=a&key=b")
    for unknown in ("key=c", "id=7&minus_key=c"):
        refused = writable_client.post(f"/similar?{unknown}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_image")
        assert refused.json()["error"]["message"] == "no indexed image has the key 'c'"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/similar?k=0&id=1", 422), ("/similar?k=1000000&id=1", 422), ("/similar?cursor=5&id=1", 422),
        ("/similar?id=4711", 404), ("/similar?id=1&minus=4711", 404), ("/similar?id=1&label=nothing", 422),
        ("/similar?id=1&max_distance=nan", 422), ("/similar?id=1&max_distance=-1", 422), ("/similar?id=x", 422),
        ("/similar", 422),
    ],
)  # fmt: skip
def test_wrong_questions(client: TestClient, path: str, status: int) -> None:
    answer = client.post(path)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_a_query_moves_away_from_negative_examples_within_the_range_of_the_features() -> None:
    relu = apply_negative_feedback(np.array([4, 1, 0], np.float32), np.array([2, 5, 0], np.float32))
    np.testing.assert_array_equal(relu, [5, 0, 0])
    tanh = apply_negative_feedback(np.array([0.5, -0.5], np.float32), np.array([0.5, 0.5], np.float32))
    np.testing.assert_array_equal(tanh, [0.5, -1])  # clipped at 0, it would look like a 0


def test_a_cursor_of_a_query_with_other_negative_keys(client: TestClient, jpeg: bytes) -> None:
    cursor = client.post("/similar?k=1", content=jpeg).json()["next_cursor"]
    refused = client.post("/similar", params={"cursor": cursor, "minus_key": "a"}, content=jpeg)
    assert (refused.status_code, "another query" in refused.text) == (422, True)
