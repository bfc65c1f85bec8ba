"""20 clients request `features` 1,000 times in 50 kB (a 60 MB response) and read 1.5 kB per second: how much memory?

Takes two minutes.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import time

from tests.cases.attack.harness import INFER, Server, copy_index, first_image, report

PORT = 8633
SECONDS = 100


def connect(body: bytes) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", PORT))
    head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return connection


def inflight_requests(server: Server) -> str:
    try:
        lines = server.request("GET", "/metrics", timeout=30).body.decode().splitlines()
    except OSError as error:
        return type(error).__name__
    return next(line.split()[1] for line in lines if line.startswith("alexnet_inflight_requests"))


def main() -> None:
    server = Server(PORT, copy_index("index_readers"), log="r06.log")
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(first_image()).decode()]}
    body = json.dumps({"outputs": [{"name": "features"}] * 1000, "inputs": [image]}, separators=(",", ":")).encode()
    report("before:", server.resources())
    connections, start, points = [connect(body) for _ in range(20)], time.monotonic(), list[tuple[int, int, str]]()
    while time.monotonic() - start < SECONDS:
        for connection in select.select(connections, [], [], 0)[0]:
            connection.recv(1500)
        time.sleep(1)
        if int(time.monotonic() - start) % 10 == 0:
            points.append((int(time.monotonic() - start), server.rss, inflight_requests(server)))
    report(f"20 requests of {len(body)} bytes: (seconds, rss in MB, in flight):", points)
    for connection in connections:
        connection.close()
    time.sleep(4)
    report("after they left:", server.resources(), "/live", server.status("GET", "/live"), server.terminate())


if __name__ == "__main__":
    main()
