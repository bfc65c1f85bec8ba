"""The codec of the Open Inference Protocol: tensors there and back, and what is refused before it is parsed."""

from __future__ import annotations

import json
import struct
import time

import numpy as np
import pytest

from model.exceptions import InvalidRequestError
from server.open_inference import RequestedOutput, encode_infer_response, parse_infer_request


@pytest.mark.parametrize("value", [b"[]", b"{}", b"0"])
def test_millions_of_values_are_refused_before_they_are_read(value: bytes) -> None:
    body = b'{"inputs":[' + b",".join([value] * 5_000_001) + b"]}"
    begun = time.monotonic()
    with pytest.raises(InvalidRequestError, match="more than 5,000,000 JSON values"):
        parse_infer_request(body, None, ("features",))
    assert time.monotonic() - begun < 1


def test_a_binary_response() -> None:
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    texts = np.array([["0.9:1:cat"]], dtype=object)
    outputs = [(RequestedOutput("features", True), features), (RequestedOutput("probabilities", True, 1), texts)]
    body, length = encode_infer_response({"id": "7"}, outputs)
    document = json.loads(body[:length])
    assert document["id"] == "7"
    assert [output["datatype"] for output in document["outputs"]] == ["FP32", "BYTES"]
    assert body[length:] == features.tobytes() + struct.pack("<I", 9) + b"0.9:1:cat"


def test_a_request_of_pixels() -> None:
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": [7] * 196_608}
    request = parse_infer_request(json.dumps({"inputs": [pixels], "id": "a"}).encode(), None, ("features",))
    assert (request.id, request.num_images, request.images) == ("a", 1, None)
    assert request.pixels is not None
    assert (request.pixels == 7).all()
    assert request.outputs == (RequestedOutput("features", False),)
