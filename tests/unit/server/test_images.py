"""The living index over HTTP: added, listed, labeled, removed, brought back, and asked in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.build import build, find_images
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.drawings import draw, encode

WRITE, READ = "w" * 16, "r" * 16


@pytest.fixture
def folder(artifact: Artifact, model: OnnxModel, few: Path, tmp_path: Path) -> Path:
    """An index of 33 images: 11 of each label."""
    path = tmp_path / "index"
    index = ImageIndex.create(path, artifact)
    build(index, model, find_images(few))
    index.close()
    return path


@pytest.fixture
def living(artifact: Artifact, folder: Path) -> Iterator[TestClient]:
    service = Service(Settings(artifact=artifact.path, index=folder))
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def new() -> list[bytes]:
    """Three images that no index has."""
    return [encode(draw("circles", np.random.default_rng(seed))) for seed in (1001, 1002, 1003)]


def post(client: TestClient, images: list[bytes], **fields: list[str]) -> list[dict[str, object]]:
    files = [("image", ("a.jpg", data)) for data in images]
    answer = client.post("/images", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["images"]
    return found


def test_added_images_are_found_at_once(living: TestClient, new: list[bytes], artifact: Artifact, folder: Path) -> None:
    added = post(living, [new[0], b"no image", new[1], new[0]], label=["new"], key=["a", "b", "c", "d"])
    assert [entry.get("status") for entry in added] == ["added", None, "added", "exists"]
    assert added[1]["error"]["code"] == "unsupported_image"  # type: ignore[index]
    assert added[0]["id"] == added[3]["id"] == 34
    for data, place in ((new[0], 0), (new[1], 2)):
        nearest = living.post("/similar?k=1", content=data).json()["neighbors"][0]
        assert (nearest["id"], nearest["label"]) == (added[place]["id"], "new")
        assert nearest["distance"] == pytest.approx(0, abs=1e-5)
    assert living.get("/images/34").json()["key"] == "a"
    assert living.get("/images/34").json()["image"] is None
    assert living.get("/images/34/thumbnail").status_code == 200
    assert living.get("/images/34/image").status_code == 404
    living.__exit__(None, None, None)
    again = ImageIndex.open(folder)  # as after a restart
    assert len(again) == 35
    again.close()


def test_one_broken_image_is_an_error(living: TestClient) -> None:
    assert living.post("/images", content=b"no image").status_code == 415
    assert living.get("/images").json()["index"]["size"] == 33


def test_listing_by_pages_and_label(living: TestClient) -> None:
    seen, cursor = [], 0
    while cursor is not None:
        page = living.get(f"/images?limit=10&cursor={cursor}").json()
        seen += [image["id"] for image in page["images"]]
        cursor = page["next"]
    assert seen == list(range(1, 34))
    assert len(living.get("/images?label=circles").json()["images"]) == 11
    assert living.get("/labels").json()["labels"] == [
        {"label": label, "images": 11} for label in ("checks", "circles", "stripes")
    ]


def test_removed_and_brought_back(living: TestClient) -> None:
    assert living.delete("/images/5").status_code == 204
    for path in ("/images/5", "/images/5/similar", "/images/5/thumbnail"):
        assert living.get(path).status_code == 404
    assert living.delete("/images/5").status_code == 404
    assert 5 not in [n["id"] for n in living.get("/images/4/similar?k=40").json()["neighbors"]]
    assert living.patch("/images/5", json={"removed": False}).json()["id"] == 5
    assert 5 in [n["id"] for n in living.get("/images/4/similar?k=40").json()["neighbors"]]
    assert living.patch("/images/5", json={"label": "odd"}).json()["label"] == "odd"
    assert [n["id"] for n in living.get("/images/4/similar?label=odd").json()["neighbors"]] == [5]
    assert living.patch("/images/5", json={"label": None}).json()["label"] is None
    removed = {"removed": True, "label": "x"}
    for wrong in ({"labels": "x"}, {"label": ""}, {"removed": "perhaps"}, {"removed": True}, removed):
        assert living.patch("/images/5", json=wrong).status_code == 422


def test_every_way_to_ask(living: TestClient, new: list[bytes]) -> None:
    def ids(path: str, **sent: object) -> list[int]:
        answer = living.post(path, **sent)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [neighbor["id"] for neighbor in answer.json()["neighbors"]]

    whole = ids("/similar?k=33", content=new[0])
    assert ids("/similar?k=5&offset=5", content=new[0]) == whole[5:10]
    assert ids("/similar?k=5&label=checks", content=new[0]) == [n for n in whole if n <= 11][:5]
    assert ids("/similar?id=7&k=1") == [7]
    assert ids("/similar?id=7&id=8&k=33") == ids("/similar?id=8&id=7&k=33")
    both = [("image", ("a", new[0])), ("image", ("b", new[1]))]
    assert len(ids("/similar", files=both)) == 6
    assert living.post("/similar", files=both).json()["image"] is None
    away = living.post(f"/similar?minus={whole[0]}&k=33", content=new[0]).json()["neighbors"]
    near = living.post("/similar?k=33", content=new[0]).json()["neighbors"]
    assert {n["id"]: n["distance"] for n in away}[whole[0]] > near[0]["distance"]
    bound = near[4]["distance"]
    assert ids(f"/similar?k=33&max_distance={bound}", content=new[0]) == whole[:5]
    assert living.get("/images/7/similar?minus=9").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/similar?k=0&id=1", 422), ("/similar?k=1000000&id=1", 422), ("/similar?offset=-1&id=1", 422),
        ("/similar?id=4711", 404), ("/similar?id=1&minus=4711", 404), ("/similar?id=1&label=nothing", 422),
        ("/similar?id=1&max_distance=nan", 422), ("/similar?id=1&max_distance=-1", 422), ("/similar?id=x", 422),
        ("/similar", 415),
    ],
)  # fmt: skip
def test_wrong_questions(living: TestClient, path: str, status: int) -> None:
    answer = living.post(path)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_fields_that_do_not_fit(living: TestClient, new: list[bytes]) -> None:
    files = [("image", ("a", data)) for data in new]
    for fields in ({"label": ["a", "b"]}, {"key": ["k"]}, {"label": [""]}, {"label": ["x" * 201]}, {"key": ["k"] * 3}):
        assert living.post("/images", files=files, data=fields).status_code == 422
    assert living.get("/images").json()["index"]["size"] == 33


def test_who_may_write(artifact: Artifact, folder: Path, new: list[bytes]) -> None:
    service = Service(Settings(artifact=artifact.path, index=folder, keys=f"read:{READ},write:{WRITE}"))
    with TestClient(create_app(service)) as client:
        calls = [("POST", "/images", new[0]), ("DELETE", "/images/1", b""), ("PATCH", "/images/1", b"{}")]
        for method, path, content in calls:
            for key, status in ((None, 401), (READ, 403)):
                headers = {"X-API-Key": key} if key else {}
                assert client.request(method, path, headers=headers, content=content).status_code == status
        assert client.post("/images", headers={"X-API-Key": WRITE}, content=new[0]).status_code == 200


def test_an_index_that_another_changes_is_only_read(artifact: Artifact, folder: Path, new: list[bytes]) -> None:
    with_lock = ImageIndex.create(folder, artifact)
    for read_only in (False, True):
        settings = Settings(artifact=artifact.path, index=folder, read_only=read_only)
        with TestClient(create_app(Service(settings))) as client:
            assert client.get("/images/1/similar").status_code == 200
            refused = client.post("/images", content=new[0])
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "read_only_index")
            assert str(folder) not in refused.text
        with_lock.close()


def test_a_reload_keeps_the_index_that_is_changed(living: TestClient, new: list[bytes]) -> None:
    service: Service = living.app.app.app.state.service  # type: ignore[attr-defined]
    before = service.now
    living.portal.call(service.reload)  # type: ignore[union-attr]
    assert service.now is not before
    assert service.now.index is before.index
    assert post(living, [new[2]])[0]["status"] == "added"
    assert living.get("/images/34/similar").status_code == 200
