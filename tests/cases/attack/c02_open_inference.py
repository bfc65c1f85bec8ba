"""Open Inference Protocol: one output named N times, and odd requests: numbers, shapes, types, lengths.

Needs tritonclient.
"""

from __future__ import annotations

import base64
import http.client
import json
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tritonclient import http as triton

from tests.cases.attack.harness import (
    INFER,
    JSON,
    MODEL,
    Server,
    copy_index,
    first_image,
    probe_live,
    report,
    run_parts,
    worst,
)

PORT = 8602
PIXELS = 256 * 256 * 3
IMAGE = first_image()
IMAGE_INPUT = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(IMAGE).decode()]}
Body = bytes | str | dict[str, Any]

server = Server(PORT, copy_index("index_v2"), log="v2.log")


def infer(name: str, body: Body, headers: Mapping[str, str] = JSON, timeout: float = 60) -> None:
    cpu, start = server.cpu_seconds(), time.monotonic()
    encoded = json.dumps(body) if isinstance(body, dict) else body
    outcome: object
    try:
        response = server.request("POST", INFER, encoded, headers, timeout)
        outcome = response.status, len(response.body), response.body[:110]
    except (OSError, http.client.HTTPException, ValueError) as error:
        outcome = repr(error)[:100]
    seconds, cpu = time.monotonic() - start, server.cpu_seconds() - cpu
    report(f"{name:44} {seconds:6.2f} s, CPU {cpu:5.2f} s, rss {server.rss}, max {server.max_rss}", outcome)


def infer_image(name: str, **changes: object) -> None:
    infer(name, {"inputs": [{**IMAGE_INPUT, **changes}]})


def odd_shapes() -> None:
    infer_image("plain")
    sides: list[Any] = [[2**62], [2**63], [2**64], [2**62, 2**62], [10**6] * 8, [-1], [0], [1.0], [True], ["1"]]
    for shape in [*sides, [], [[1]], None, 1, [1] * 9]:
        infer_image(f"image of shape {str(shape)[:30]}", shape=shape)
    for shape in ([2**62, 256, 256, 3], [1, 256, 256, 2**62], [4096] * 4, [1, 256, 256, 4], [1, 3, 256, 256],
                  [1_000_000, 256, 256, 3]):  # fmt: skip
        infer(
            f"pixels of shape {shape}",
            {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": shape, "data": [1]}]},
        )
    for datatype in ("UINT8", "FP32", "bytes", "", None, 5, ["BYTES"]):
        infer_image(f"image of datatype {datatype!r}", datatype=datatype)


def odd_pixels() -> None:
    ones = [1] * PIXELS
    nested: Any = 1
    for _ in range(32):
        nested = [nested]
    values: dict[str, Any] = {
        "bools": [True] * PIXELS,
        "floats": [1.0] * PIXELS,
        "256": [256] * PIXELS,
        "-1": [-1] * PIXELS,
        "2**63": [2**63, *ones[1:]],
        "10**4000": [10**4000, *ones[1:]],
        "NaN": [float("nan")],
        "nested, ragged": [ones[:5], ones[5:]],
        "nested": [[ones[: PIXELS // 2], ones[PIXELS // 2 :]]],
        "nested 32 deep": nested,
        "strings": ["1"] * PIXELS,
        "null": [None] * PIXELS,
        "object": {"a": 1},
    }
    for name, data in values.items():
        entry = {"name": "pixels", "datatype": "UINT8", "shape": [1, 256, 256, 3], "data": data}
        infer(f"pixels: {name}", {"inputs": [entry]})


def odd_json() -> None:
    digits = "9" * 5000
    infer("integer of 5000 digits", f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[{digits}]}}]}}')
    infer("100,000 brackets", "[" * 100_000 + "]" * 100_000)
    infer("900 brackets in parameters", '{"inputs":[],"parameters":{"a":' + "[" * 900 + "]" * 900 + "}}")
    infer("two inputs", {"inputs": [IMAGE_INPUT, IMAGE_INPUT]})
    infer("inputs: an object", {"inputs": {}})
    infer("body: null", "null")
    infer("body: empty", "")
    plain = json.dumps({"inputs": [IMAGE_INPUT]})
    infer("body with a byte-order mark", b"\xef\xbb\xbf" + plain.encode())
    infer("body in UTF-16", plain.encode("utf-16"))


def odd_parameters() -> None:
    choices: tuple[dict[str, Any], ...] = (
        {"classification": -1}, {"classification": 10**9}, {"classification": True}, {"classification": "3"},
        {"binary_data": "no"}, {"binary_data": []},
    )  # fmt: skip
    for parameters in choices:
        outputs = [{"name": "probabilities", "parameters": parameters}]
        infer(f"output with {parameters}", {"inputs": [IMAGE_INPUT], "outputs": outputs})
    for crops in (0, 2, -1, "10", 10.0, True, None, [10], 2**70):
        infer(f"crops {crops!r}", {"inputs": [IMAGE_INPUT], "parameters": {"crops": crops}})
    for length in ("-5", "+5", "0x5", " 5", "5.0", "1e2", "", str(2**63), "\u0665"):
        headers = {**JSON, "Inference-Header-Content-Length": length}
        infer(f"header length {length!r}", {"inputs": [IMAGE_INPUT]}, headers)


def odd_binary() -> None:
    element = struct.pack("<I", len(IMAGE)) + IMAGE
    tensors: dict[str, tuple[bytes, object]] = {
        "right": (element, len(element)),
        "size -1": (element, -1),
        "size 2**63": (element, 2**63),
        "size a float": (element, float(len(element))),
        "size true": (b"x", True),
        "element of 0xffffffff bytes": (struct.pack("<i", -1) + IMAGE, len(element)),
        "element of 0 bytes": (struct.pack("<I", 0), 4),
        "3 bytes": (b"abc", 3),
        "bytes behind it": (element + bytes(4), len(element) + 4),
    }
    for name, (tail, size) in tensors.items():
        infer_binary(name, tail, {"binary_data_size": size})
    region = {"shared_memory_region": "/dev/shm/x", "shared_memory_byte_size": 8}
    infer_binary("in shared memory", b"", {"binary_data_size": 0, **region})


def infer_binary(name: str, tail: bytes, parameters: dict[str, object]) -> None:
    entry = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    head = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    infer(f"binary: {name}", head + tail, headers)


def triton_client() -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{PORT}")
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([IMAGE], dtype=np.object_))
    pixels = triton.InferInput("pixels", [1, 256, 256, 3], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 256, 256, 3), np.uint8))
    output = triton.InferRequestedOutput
    top = [output("probabilities", class_count=3)]
    mixed = [output("features", binary_data=True), output("probabilities", binary_data=False)]
    twice = [output("features"), output("features")]
    calls: dict[str, Callable[[], object]] = {
        "classes": lambda: client.infer(MODEL, [image], outputs=top).as_numpy("probabilities"),
        "binary and JSON": lambda: client.infer(MODEL, [image], outputs=mixed).as_numpy("features").shape,
        "pixels": lambda: client.infer(MODEL, [pixels]).as_numpy("probabilities").shape,
        "priority and timeout": lambda: client.infer(MODEL, [image], priority=-1, timeout=1),
        "sequence": lambda: client.infer(MODEL, [image], sequence_id=2**63),
        "odd request id": lambda: client.infer(MODEL, [image], request_id="\x00"),
        "version 99": lambda: client.infer(MODEL, [image], model_version="99"),
        "one output twice": lambda: client.infer(MODEL, [image], outputs=twice).as_numpy("features").shape,
    }
    for name, call in calls.items():
        try:
            report("tritonclient:", name, str(call())[:90])
        except Exception as error:
            report("tritonclient:", name, repr(error)[:160])


def many_outputs() -> None:
    """Request `features` N times: each would be 61 kB of JSON."""
    for times in (1, 10, 100, 1000, 3000, 6000):
        document = {"outputs": [{"name": "features"}] * times, "inputs": [IMAGE_INPUT]}
        body = json.dumps(document, separators=(",", ":"))
        with probe_live(server) as probes:
            infer(f"features {times} times ({len(body)} bytes)", body, timeout=150)
        failed = sum(status != 200 for _, status in probes)
        report(f"    worst /live {worst(probes) if probes else 0}, not 200: {failed}")
        if server.process.poll() is not None:
            report("ended", server.process.returncode, server.log_tail(300))
            return
        if max((seconds for seconds, _ in probes), default=0) > 25:
            return


if __name__ == "__main__":
    run_parts(odd_shapes, odd_pixels, odd_json, odd_parameters, odd_binary, triton_client, many_outputs)
    report(server.failures(), f"{server.count_in_log('MemoryError')} of MemoryError")
    if server.process.poll() is None:
        report("/classify", server.status("POST", "/classify", IMAGE), server.terminate())
