"""The Open Inference Protocol v2, as an unmodified client speaks it, and as none would."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from server.service import Service


def expected(model: OnnxModel, jpeg: bytes, crops: tuple[int, ...] = TEN_CROP) -> tuple[NDArray[np.float32], ...]:
    return model.run(decode_image(jpeg).pixels[None], crops)


def test_triton_s_client_asks_about_the_model(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("patterns")
    assert triton.is_model_ready("patterns", "1")
    assert set(triton.get_server_metadata()["extensions"]) >= {"binary_tensor_data", "classification", "statistics"}
    metadata = triton.get_model_metadata("patterns")
    assert (metadata["name"], metadata["versions"]) == ("patterns", ["1"])
    assert metadata["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/patterns/ready"])
def test_status_and_body_of_a_readiness_check_agree(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    states = iter([True, False])
    monkeypatch.setattr(Service, "ready", property(lambda _: next(states)))
    answer = client.get(path)
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_s_client_classifies_a_image(triton: Any, jpeg: bytes, model: OnnxModel, binary: bool) -> None:
    from tritonclient import http

    image = http.InferInput("image", [1], "BYTES")
    data = jpeg if binary else base64.b64encode(jpeg)
    image.set_data_from_numpy(np.array([data], dtype=np.object_), binary_data=binary)
    wishes = [http.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "features")]
    result = triton.infer("patterns", [image], outputs=wishes, request_id="7")
    probabilities, features = expected(model, jpeg)
    np.testing.assert_allclose(result.as_numpy("probabilities"), probabilities, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("features"), features, rtol=1e-5, atol=1e-6)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("7", "patterns", "1")


def test_triton_s_client_sends_pixels_and_asks_for_classes(triton: Any, jpeg: bytes, model: OnnxModel) -> None:
    from tritonclient import http

    pixels = np.stack([decode_image(jpeg).pixels] * 2)
    images = http.InferInput("pixels", list(pixels.shape), "UINT8").set_data_from_numpy(pixels)
    classes = http.InferRequestedOutput("probabilities", class_count=2)
    result = triton.infer("patterns", [images], outputs=[classes], parameters={"crops": 1})
    probabilities, _ = expected(model, jpeg, CENTER_CROP)
    texts = result.as_numpy("probabilities")
    assert texts.shape == (2, 2)
    value, index, name = texts[0, 0].decode().split(":")
    assert (int(index), name) == (int(probabilities.argmax()), "stripes")
    assert float(value) == pytest.approx(float(probabilities.max()), abs=1e-5)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_s_client_compresses_requests_and_responses(triton: Any, jpeg: bytes, algorithm: str) -> None:
    from tritonclient import http

    image = http.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([jpeg], dtype=np.object_))
    features = http.InferRequestedOutput("features", binary_data=False)
    plain = triton.infer("patterns", [image], outputs=[features])
    compressed = triton.infer(
        "patterns", [image], outputs=[features],
        request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
    )  # fmt: skip
    np.testing.assert_array_equal(compressed.as_numpy("features"), plain.as_numpy("features"))


def test_a_response_is_compressed_as_its_client_accepts(client: TestClient, jpeg: bytes) -> None:
    for accepted, coding in (("gzip", "gzip"), ("deflate", "deflate"), ("identity", None)):
        answer = client.post("/v2/models/patterns/infer", json=document(jpeg), headers={"Accept-Encoding": accepted})
        assert answer.headers.get("Content-Encoding") == coding
        assert len(answer.json()["outputs"]) == 2


def test_a_raw_binary_request(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = client.post("/v2/models/patterns/infer", content=jpeg, headers=headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    first, _ = json.loads(answer.content[:length])["outputs"]
    assert (first["name"], first["shape"]) == ("probabilities", [1, 3])
    sent = np.frombuffer(answer.content[length : length + first["parameters"]["binary_data_size"]], np.float32)
    np.testing.assert_allclose(sent, expected(model, jpeg)[0][0], atol=1e-6)
    assert client.post("/v2/models/patterns/infer", content=b"no image", headers=headers).status_code == 415


def test_a_timeout_of_the_request(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/v2/models/patterns/infer", json=document(jpeg) | {"parameters": {"timeout": 1}})
    assert answer.status_code == 504


def test_triton_s_client_gets_our_errors(triton: Any, jpeg: bytes) -> None:
    from tritonclient import http
    from tritonclient.utils import InferenceServerException

    image = http.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([b"no image"], dtype=np.object_))
    with pytest.raises(InferenceServerException, match="image"):
        triton.infer("patterns", [image])
    with pytest.raises(InferenceServerException, match="this server serves patterns version 1"):
        triton.infer("resnet", [image])
    with pytest.raises(InferenceServerException, match="this server serves patterns version 1"):
        triton.infer("patterns", [image], model_version="2")


def document(jpeg: bytes, **changes: Any) -> dict[str, Any]:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(jpeg).decode()]}
    return {"inputs": [image | changes]}


def test_json_alone(client: TestClient, jpeg: bytes, model: OnnxModel) -> None:
    answer = client.post("/v2/models/patterns/versions/1/infer", json=document(jpeg))
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    probabilities, _ = expected(model, jpeg)
    np.testing.assert_allclose(outputs["probabilities"]["data"], probabilities[0], atol=1e-6)
    assert outputs["features"]["shape"] == [1, 64]
    assert "server-timing" in answer.headers
    for path in ("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/patterns/versions/1/ready"):
        assert client.get(path).status_code == 200, path


def binary(head: dict[str, Any], rest: bytes, length: int | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode()
    return text + rest, {"Inference-Header-Content-Length": str(len(text) if length is None else length)}


BYTES = {"name": "image", "datatype": "BYTES", "shape": [1]}
UINT8 = {"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3]}


def sized(entry: dict[str, Any], size: Any) -> dict[str, Any]:
    return {"inputs": [entry | {"parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"[]", {}),
        (b"{}", {}),
        (b"[" * 100_000, {}),
        (b'{"inputs": []}', {}),
        (b'{"inputs": [1]}', {}),
        (json.dumps({"inputs": [BYTES, BYTES]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"data": ["?"]}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"data": [1]}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"data": []}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"shape": [-1], "data": []}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"shape": [True], "data": []}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"datatype": "FP32", "data": [1.0]}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"data": [""] * 17, "shape": [17]}]}).encode(), {}),
        (json.dumps({"inputs": [UINT8 | {"data": [1, 2, 3]}]}).encode(), {}),
        (json.dumps({"inputs": [UINT8 | {"shape": [1, 224, 224, 3], "data": []}]}).encode(), {}),
        (json.dumps({"inputs": [UINT8 | {"shape": [1000000, 256, 256, 3], "data": [10**30]}]}).encode(), {}),
        (json.dumps({"inputs": [BYTES | {"parameters": 3, "data": [""]}]}).encode(), {}),
        (json.dumps(document(b"x") | {"outputs": [{"name": "logits"}]}).encode(), {}),
        (json.dumps(document(b"x") | {"outputs": []}).encode(), {}),
        (json.dumps(document(b"x") | {"parameters": {"crops": 3}}).encode(), {}),
        (
            json.dumps(
                document(b"x") | {"outputs": [{"name": "features", "parameters": {"classification": 2}}]}
            ).encode(),
            {},
        ),
        binary(sized(BYTES, 4), b"abc"),
        binary(sized(BYTES, "4"), b"abcd"),
        binary(sized(BYTES, 3), b"abc"),
        binary(sized(BYTES, 8), struct.pack("<I", 2**31) + b"abcd"),
        binary(sized(UINT8, 10), bytes(10)),
        binary(sized(BYTES, 4), bytes(4), 10**6),
        (b"{}", {"Inference-Header-Content-Length": "-1"}),
        (b"{}", {"Inference-Header-Content-Length": "x"}),
    ],
)
def test_what_is_wrong_is_said_in_the_protocol_s_form(client: TestClient, body: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/v2/models/patterns/infer", content=body, headers=headers)
    assert answer.status_code in (415, 422), answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [
        ({"name": "image", "datatype": "BYTES", "shape": [65536] * 4, "data": []}, {}),
        ({"name": "\ud800", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}, {}),
        ({"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": "\ud800"}}, {}),
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}, {"crops": "\ud800"}),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": [0.9] * 196_608}, {}),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": [True] * 196_608}, {}),
    ],
    ids=["shape", "name", "size", "crops", "fractions", "truths"],
)
def test_odd_values_are_refused(address: str, entry: dict[str, Any], parameters: dict[str, Any]) -> None:
    body = json.dumps({"inputs": [entry], "parameters": parameters}).encode()
    assert httpx2.post(f"http://{address}/v2/models/patterns/infer", content=body).status_code == 422


def test_a_length_of_thousands_of_digits(address: str) -> None:
    headers = {"Inference-Header-Content-Length": "9" * 5000}
    assert httpx2.post(f"http://{address}/v2/models/patterns/infer", content=b"{}", headers=headers).status_code == 422


def test_deep_ids_are_refused(address: str) -> None:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}
    for deep in ('["a"]', "[" * 900 + "]" * 900):
        body = json.dumps({"inputs": [image], "id": 0})[:-2] + deep + "}"
        assert httpx2.post(f"http://{address}/v2/models/patterns/infer", content=body.encode()).status_code == 422
