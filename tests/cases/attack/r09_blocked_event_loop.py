"""Can one request stop everything else? The slowest /live while it is processed. Is it refused without a key, if the
server has keys?
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable

from tests.cases.attack.harness import INFER, JSON, Server, copy_index, first_image, probe_live, report, worst

PORT = 8636
KEY = "r" * 16
WITH_KEY = {**JSON, "Authorization": f"Bearer {KEY}"}


def run(server: Server, name: str, send: Callable[[], object]) -> None:
    with probe_live(server) as probes:
        start, cpu = time.monotonic(), server.cpu_seconds()
        outcome = send()
        seconds = time.monotonic() - start
    report(f"{name:60} {outcome}, {seconds:.1f} s, CPU {server.cpu_seconds() - cpu:.1f} s, worst /live {worst(probes)},"
           f" {server.max_rss} MB at most")  # fmt: skip


def send_tiny_chunks(path: str, megabytes: float) -> object:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", PORT), timeout=120) as connection:
        try:
            connection.sendall(head + b"1\r\na\r\n" * int(megabytes * 1e6 / 6) + b"0\r\n\r\n")
            return connection.recv(100)[9:12]
        except OSError as error:
            return type(error).__name__


def json_images() -> dict[str, bytes]:
    """JSON with images, as large as permitted, and the JSON without an image that costs the most to parse."""
    image = first_image()
    lines = base64.encodebytes(image + bytes(23_000_000)).decode()  # zeros after the image's end
    many = base64.encodebytes(image + bytes(1_450_000)).decode()
    return {
        "an image as base64 with line breaks": json.dumps({"image": lines}).encode(),
        "16 images as base64 with line breaks": json.dumps({"image": [many] * 16}).encode(),
        "a text of escapes": b'{"image":"' + b"\\u0041" * 5_300_000 + b'"}',
        "2,000,000 names": b'{"id":"a"' + b"".join(b',"%d":1' % number for number in range(2_000_000)) + b"}",
        "a list of 10,000,000 empty lists": b'{"image":[' + b"[]," * 10_000_000 + b"[]]}",
        "9,000 names of 3,000 letters, the last twice": (
            b"{" + b",".join(b'"%03000d":1' % min(number, 8998) for number in range(9000)) + b"}"
        ),
    }


def main() -> None:
    server = Server(PORT, copy_index("index_loop"), log="r09.log", environment={"ALEXNET_KEYS": f"read:{KEY}"})
    keys = b'{"id":"a"' + b"".join(b',"%d":1' % number for number in range(2_000_000)) + b"}"
    floats = b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[16,256,256,3],"data":['
    floats += b"1.5e3," * 4_900_000 + b"1]}]}"
    for name, headers in (("no key", JSON), ("a key", WITH_KEY)):
        for what, body in (("2,000,000 JSON keys", keys), ("4.9 million JSON floats", floats)):

            def post(body: bytes = body, headers: dict[str, str] = headers) -> int | str:
                return server.status("POST", INFER, body, headers, 120)

            run(server, f"{what} ({len(body) >> 20} MB), {name}", post)
    for what, body in json_images().items():

        def classify(body: bytes = body) -> int | str:
            return server.status("POST", "/classify?crops=1", body, WITH_KEY, 120)

        run(server, f"/classify: {what} ({len(body) >> 20} MB)", classify)
    for path in ("/classify", "/nothing"):
        run(server, f"one-byte chunks, 8 MB, {path}, no key", lambda path=path: send_tiny_chunks(path, 8))  # type: ignore[misc]
    report(server.failures(), server.terminate())


if __name__ == "__main__":
    main()
