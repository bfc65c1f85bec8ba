"""Requests of the Open Inference Protocol: what they may contain, and what is refused before it is parsed."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from model.exceptions import InvalidRequestError
from server.exceptions import InvalidBodyError
from server.open_inference.infer_request import (
    MAX_JSON_VALUES,
    InferParameters,
    RequestedModel,
    RequestedOutput,
    parse_infer_request,
)

MODEL = RequestedModel("patterns", "1", ("probabilities", "features"))
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}


def encode(**changes: Any) -> bytes:
    return json.dumps({"inputs": [IMAGE]} | changes).encode()


@pytest.mark.parametrize("value", [b"[]", b"{}", b"0"])
def test_millions_of_values_are_refused_before_they_are_read(value: bytes) -> None:
    body = b'{"inputs":[' + b",".join([value] * (MAX_JSON_VALUES + 1)) + b"]}"
    begun = time.monotonic()
    with pytest.raises(InvalidBodyError, match=f"more than {MAX_JSON_VALUES:,} JSON values"):
        parse_infer_request(body, None, MODEL, 16)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("shape", [[1], [8, 1_000_000]], ids=str)
def test_millions_of_binary_elements_are_refused_before_they_are_read(shape: list[int]) -> None:
    """Each needs only the four bytes of its length, so gzip sends eight million in 32 kB."""
    size = 32_000_000
    image = {"name": "image", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": size}}
    head = encode(inputs=[image])
    begun = time.monotonic()
    with pytest.raises(InvalidRequestError, match=r"images \(from the shape\)" if shape == [1] else "images sent"):
        parse_infer_request(head + bytes(size), str(len(head)), MODEL, 16)
    assert time.monotonic() - begun < 1


def test_images_that_are_not_as_many_as_the_shape_says_are_refused() -> None:
    for count in (1, 3):
        with pytest.raises(InvalidRequestError, match=rf"expected 2 images \(from the shape\), got {count}"):
            parse_infer_request(encode(inputs=[IMAGE | {"shape": [2], "data": ["eA=="] * count}]), None, MODEL, 16)


def test_many_keys_are_refused_before_they_are_read() -> None:
    body = b'{"id":"a"' + b"".join(b',"%d":1' % number for number in range(100_000)) + b"}"
    with pytest.raises(InvalidBodyError, match="more than 10,000 names"):
        parse_infer_request(body, None, MODEL, 16)


def test_a_request_of_pixels() -> None:
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": [7] * 196_608}
    request = parse_infer_request(encode(inputs=[pixels], id="a"), None, MODEL, 16)
    assert request.id == "a"
    np.testing.assert_array_equal(request.images, np.full((1, 256, 256, 3), 7, np.uint8), strict=True)
    assert request.outputs == (RequestedOutput("probabilities", False), RequestedOutput("features", False))


def test_a_raw_request_is_one_image_and_has_binary_outputs() -> None:
    request = parse_infer_request(b"the bytes of an image", "0", MODEL, 16)
    assert request.images == [b"the bytes of an image"]
    assert request.outputs == (RequestedOutput("probabilities", True), RequestedOutput("features", True))


def test_parameters() -> None:
    parameters = {"crops": 1, "binary_data_output": True, "timeout": 250_000}
    outputs = [{"name": "features", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    body = encode(parameters=parameters, outputs=outputs, model_name="patterns", model_version="1")
    request = parse_infer_request(body, None, MODEL, 16)
    assert request.parameters == InferParameters(1, True, 0.25)
    assert request.outputs == (RequestedOutput("features", False), RequestedOutput("probabilities", True))


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": [{"name": "features"}] * 2},
        {"outputs": [{"name": "features"}] * 6000},
        {"outputs": [{"name": "features", "parameters": {"binary_data": "no"}}]},
        {"outputs": [{"name": "features", "parameters": {"binary": True}}]},
        {"outputs": [{"name": "probabilities", "parameters": {"classification": True}}]},
        {"parameters": {"crops": True}},
        {"parameters": {"crops": 10.0}},
        {"parameters": {"crops": "10"}},
        {"parameters": {"crops": None}},
        {"parameters": {"corps": 10}},
        {"parameters": {"priority": 1}},
        {"parameters": {"timeout": -1}},
        {"parameters": {"binary_data_output": 1}},
        {"model_name": "another"},
        {"model_version": 1},
        {"input": []},
        {"inputs": [IMAGE | {"type": "BYTES"}]},
        {"inputs": [IMAGE | {"parameters": {"shared_memory_region": "a"}}]},
    ],
    ids=str,
)
def test_what_is_unknown_misplaced_or_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    parse_infer_request(encode(), None, MODEL, 16)
    with pytest.raises(InvalidRequestError):
        parse_infer_request(encode(**changes), None, MODEL, 16)


def test_a_timeout_that_no_float_can_be_is_as_long_as_any_other() -> None:
    request = parse_infer_request(encode(parameters={"timeout": 10**400}), None, MODEL, 16)
    assert request.parameters.timeout is not None
    assert request.parameters.timeout > 1_000_000


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="repeated"):
        parse_infer_request(encode()[:-1] + b', "id": "a", "id": "b"}', None, MODEL, 16)


def test_bytes_that_belong_to_nothing_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="4 bytes follow the JSON"):
        parse_infer_request(encode() + b"rest", str(len(encode())), MODEL, 16)


@pytest.mark.parametrize("length", ["-1", "+5", " 5", "5.0", "", "\u0665", "9" * 5000])
def test_odd_lengths_are_refused(length: str) -> None:
    with pytest.raises(InvalidRequestError, match="Inference-Header-Content-Length"):
        parse_infer_request(encode(), length, MODEL, 16)
