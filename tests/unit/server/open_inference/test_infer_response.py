"""Responses of the Open Inference Protocol: JSON, binary tensors, and their compression."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

import numpy as np
import pytest

from server.open_inference.infer_request import LENGTH_HEADER, RequestedOutput
from server.open_inference.infer_response import choose_coding, encode_infer_response


def test_a_binary_response() -> None:
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    texts = np.array([["0.9:1:cat"]], dtype=object)
    outputs = [(RequestedOutput("features", True), features), (RequestedOutput("probabilities", True, 1), texts)]
    response = encode_infer_response({"id": "7"}, outputs)
    length = int(response.headers[LENGTH_HEADER])
    document = json.loads(response.body[:length])
    assert document["id"] == "7"
    assert [output["datatype"] for output in document["outputs"]] == ["FP32", "BYTES"]
    assert response.body[length:] == features.tobytes() + struct.pack("<I", 9) + b"0.9:1:cat"


def test_compression_where_it_makes_the_body_smaller() -> None:
    outputs = [(RequestedOutput("features", False), np.zeros((1, 4096), np.float32))]
    plain = encode_infer_response({}, outputs).body
    for coding, decompress in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        response = encode_infer_response({}, outputs, coding)
        assert response.headers["Content-Encoding"] == coding
        assert len(response.body) < len(plain) / 10
        assert decompress(response.body) == plain
    short = encode_infer_response({}, [(RequestedOutput("features", True), np.ones((1, 1), np.float32))], "gzip")
    assert ("Content-Encoding" in short.headers) == (len(short.body) < 100)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None), ("gzip", "gzip"), ("deflate", "deflate"), ("deflate, gzip", "gzip"), ("br, zstd", None),
        ("gzip;q=0", None), ("gzip;q=0.1, deflate;q=0.5", "deflate"), ("GZIP ; q=0.5", "gzip"), ("gzip;q=x", None),
    ],
)  # fmt: skip
def test_accept_encoding(header: str, coding: str | None) -> None:
    assert choose_coding(header) == coding
