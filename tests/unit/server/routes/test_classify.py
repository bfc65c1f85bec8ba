"""POST /classify: probabilities of ten crops, several images, and where the time went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.app import create_app
from server.exceptions import OverloadedError
from server.request_context import RequestContext
from server.service import Service
from server.settings import Settings
from server.workers.inference import InferenceJob, InferenceWorker
from tests.helpers.drawings import encode


def test_classify_by_form_and_by_body(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    by_form = client.post("/classify", files={"image": ("a.jpg", jpeg, "image/jpeg")})
    by_body = client.post("/classify", content=jpeg, headers={"content-type": "image/jpeg"})
    assert by_form.status_code == by_body.status_code == 200
    answer = by_form.json()
    assert answer == by_body.json()
    assert answer["model"] == {"name": "patterns", "version": 1}
    assert answer["image"] == {
        "format": "JPEG", "width": 340, "height": 300, "mode": "RGB", "orientation": 1, "frames_ignored": False,
            "warnings": [],
    }  # fmt: skip
    expected, _ = model.run(decode_image(jpeg).pixels[None], TEN_CROP)
    got = {entry["index"]: entry["probability"] for entry in answer["predictions"]}
    np.testing.assert_allclose([got[i] for i in range(3)], expected[0], atol=1e-6)
    probabilities = [entry["probability"] for entry in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert answer["predictions"][0]["name"] == "stripes"


def test_top_and_crops(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    answer = client.post("/classify?top=1&crops=1", content=jpeg).json()
    expected, _ = model.run(decode_image(jpeg).pixels[None], CENTER_CROP)
    assert len(answer["predictions"]) == 1
    assert answer["predictions"][0]["probability"] == pytest.approx(float(expected.max()), abs=1e-6)


def test_a_broken_image_is_422_and_names_no_path(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=jpeg[: len(jpeg) // 2])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_image")
    assert "/" not in answer.json()["error"]["message"]


def test_several_images_and_the_one_that_is_broken(client: TestClient, jpeg: bytes, images: Path) -> None:
    other = (images / "checks" / "04.jpg").read_bytes()
    files = [("image", ("a", data)) for data in (jpeg, b"no image", other, jpeg[:500])]
    answer = client.post("/classify?top=1", files=files)
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()
    for result, data in ((first, jpeg), (third, other)):
        alone = client.post("/classify?top=1", content=data).json()
        (best,) = alone["predictions"]
        best["probability"] = pytest.approx(best["probability"], abs=1e-6)  # a batch may be rounded differently
        alone["familiarity"] = pytest.approx(alone["familiarity"], abs=1 / 9 + 1e-9)  # its rank among 9, maybe a tie
        assert result == alone
    assert second["error"]["code"] == "unsupported_image"
    assert second["error"]["request_id"] == answer.headers["x-request-id"]
    assert fourth["error"]["code"] == "invalid_image"
    too_many = client.post("/classify", files=[("image", ("a", jpeg))] * 17)
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (422, "invalid_body")


def test_a_request_of_many_images_that_is_refused_leaves_the_decoder_free(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first image that the queue refuses ends the request while its others wait for the decoder."""

    def refuse(self: InferenceWorker, job: InferenceJob) -> None:
        raise OverloadedError("server busy")

    with monkeypatch.context() as patch:
        patch.setattr(InferenceWorker, "check_capacity", refuse)
        assert client.post("/classify", files=[("image", ("a", jpeg))] * 16).status_code == 503
    headers = {"X-Request-Timeout": "10"}
    assert client.post("/classify", content=jpeg, headers=headers).status_code == 200


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


def test_noise_is_unfamiliar_and_a_training_image_is_not(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = encode(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8), "PNG")
    assert client.post("/classify", content=noise).json()["familiar"] is None  # 9 validation images are too few
    monkeypatch.setattr("model.artifacts.familiarity.MIN_HELD_OUT", 9)
    for crops in (1, 10):
        known, unknown = (client.post(f"/classify?crops={crops}", content=data).json() for data in (jpeg, noise))
        assert known["familiar"] is True
        assert 0.02 <= known["familiarity"] <= 1
        assert unknown["familiar"] is False
        assert 0 <= unknown["familiarity"] < 0.02
        assert len(unknown["predictions"]) == 3
    assert client.post("/similar", content=noise).json()["neighbors"]  # a search answers all the same


def test_an_artifact_without_familiarity_says_null(
    artifact: Artifact, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.loaded_model.read_familiarity", lambda artifact: None)
    with TestClient(create_app(Service(Settings(artifact=artifact.path)))) as client:
        answer = client.post("/classify?crops=1", content=jpeg).json()
    assert (answer["familiarity"], answer["familiar"]) == (None, None)


def test_the_deadline_is_checked_for_all_images(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(RequestContext, "check_deadline", lambda self, images=1: counts.append(images))
    client.post("/classify", files=[("image", jpeg)] * 3)
    assert counts == [1, 3]


def test_of_several_empty_images_each_has_its_error(client: TestClient, jpeg: bytes) -> None:
    for sent in ([b"", b""], [jpeg, b""]):
        answer = client.post("/classify", files=[("image", ("a.jpg", data)) for data in sent])
        assert answer.status_code == 200
        assert ["error" in item for item in answer.json()] == [not data for data in sent]
    alone = client.post("/classify", files=[("image", ("a.jpg", b""))])
    assert (alone.status_code, alone.json()["error"]["code"]) == (422, "missing_body")
