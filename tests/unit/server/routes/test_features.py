"""POST /features: the same features as the index has, several images, and ten crops."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from index.folder.store import FolderIndex
from index.protocol import intact_entries
from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings


def test_they_are_those_that_the_index_has(client: TestClient, images: Path, index_path: Path) -> None:
    path = images / "circles" / "00.jpg"
    answer = client.post("/features", content=path.read_bytes()).json()
    index = FolderIndex.open(index_path)
    stored = index.feature(next(entry.id for entry in intact_entries(index) if entry.source == path))
    index.close()
    got = np.array(answer["features"], np.float32)
    assert got.shape == stored.shape == (64,)
    np.testing.assert_allclose(got, stored, rtol=1e-5, atol=1e-5)


def test_forms_json_and_bodies_are_read_as_by_classify(client: TestClient, jpeg: bytes) -> None:
    by_body = client.post("/features", content=jpeg)
    assert by_body.status_code == 200
    answer, classified = by_body.json(), client.post("/classify", content=jpeg).json()
    assert (answer["model"], answer["image"]) == (classified["model"], classified["image"])
    assert client.post("/features", files={"image": jpeg}).json() == answer
    assert client.post("/features", json={"image": base64.b64encode(jpeg).decode()}).json() == answer
    empty = client.post("/features")
    assert (empty.status_code, empty.json()["error"]["code"]) == (422, "missing_body")


def test_crops_are_averaged(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    expected = model.features(decode_image(jpeg).pixels[None], TEN_CROP)[0]
    for answer in (
        client.post("/features?crops=10", content=jpeg),
        client.post("/features", files={"image": jpeg}, data={"crops": "10"}),
    ):
        np.testing.assert_allclose(answer.json()["features"], expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(client.post("/features?crops=1", content=jpeg).json()["features"], expected, rtol=1e-3)
    refused = client.post("/features?crops=3", content=jpeg)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")


def test_several_images_and_the_one_that_is_broken(client: TestClient, jpeg: bytes, images: Path) -> None:
    other = (images / "checks" / "04.jpg").read_bytes()
    answer = client.post("/features", files=[("image", ("a", data)) for data in (jpeg, b"no image", other)])
    first, second, third = answer.json()
    for item, data in ((first, jpeg), (third, other)):
        alone = client.post("/features", content=data).json()
        np.testing.assert_allclose(item["features"], alone["features"], rtol=1e-5, atol=1e-5)
    assert first["features"] != third["features"]
    assert second["error"]["code"] == "unsupported_image"
    assert second["error"]["request_id"] == answer.headers["x-request-id"]


def test_a_server_without_an_index_has_them_too(artifact: Artifact, client: TestClient, jpeg: bytes) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path)))) as bare:
        answer = bare.post("/features", content=jpeg).json()
    expected = client.post("/features", content=jpeg).json()
    np.testing.assert_allclose(answer["features"], expected["features"], rtol=1e-5, atol=1e-5)
