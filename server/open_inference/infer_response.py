"""Inference responses of the Open Inference Protocol: JSON, binary tensors after it, and their compression."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.open_inference.infer_request import LENGTH_HEADER, RequestedOutput
from server.open_inference.tensors import Tensor, encode_tensor

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's `wbits` for each content coding (RFC 9110: `deflate` is the zlib format)."""
COMPRESSION_LEVEL = 1


@dataclass(frozen=True)
class EncodedResponse:
    """A body and its headers."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


def encode_infer_response(
    head: Mapping[str, Any], outputs: Sequence[tuple[RequestedOutput, Tensor]], accept_encoding: str = ""
) -> EncodedResponse:
    """Encode tensors of float32, or of text (object arrays) as BYTES. This takes some hundredths of a second.

    `accept_encoding`: the request's header; the body is compressed if that makes it smaller.
    """
    entries, binary = [], []
    for output, tensor in outputs:
        datatype = "BYTES" if tensor.dtype == object else "FP32"
        entry: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": list(tensor.shape)}
        if output.binary:
            raw = encode_tensor(tensor)
            entry["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            entry["data"] = tensor.ravel().tolist()
        entries.append(entry)
    document = json.dumps({**head, "outputs": entries}).encode()
    headers = {"Vary": "Accept-Encoding"}
    if binary:
        headers[LENGTH_HEADER] = str(len(document))
    body = document + b"".join(binary)
    if coding := choose_coding(accept_encoding):
        compressed = zlib.compress(body, COMPRESSION_LEVEL, WINDOW_BITS[coding])
        if len(compressed) < len(body):
            body, headers["Content-Encoding"] = compressed, coding
    return EncodedResponse(body, "application/octet-stream" if binary else "application/json", headers)


def choose_coding(accept_encoding: str) -> str | None:
    """The content coding of `WINDOW_BITS` that a client's Accept-Encoding prefers; None for no compression."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = (text.strip() for text in part.partition(";"))
        if coding in WINDOW_BITS:
            try:
                weights[coding] = float(parameter.removeprefix("q=")) if parameter else 1.0
            except ValueError:
                weights[coding] = 0.0
    best = max(weights, key=lambda coding: (weights[coding], coding == "gzip"), default=None)
    return best if best is not None and weights[best] > 0 else None
