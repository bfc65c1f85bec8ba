"""`ulimit -n 64` and 80 idle connections."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.cases.attack.harness import Server, copy_index, first_image, multipart, report

PORT = 8644


def main() -> None:
    server = Server(PORT, copy_index("index_descriptors"), log="r14.log", limits="ulimit -n 64;")
    connections = []
    for _ in range(80):
        connections.append(socket.create_connection(("127.0.0.1", PORT), timeout=3))
        connections[-1].sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(1)
    size, cpu = server.log.stat().st_size, server.cpu_seconds()
    report("/live:", server.status("GET", "/live", timeout=4))
    time.sleep(1)
    growth = (server.log.stat().st_size - size) / 1e6
    report(f"in 5 s: {growth:.1f} MB of log, CPU {server.cpu_seconds() - cpu:.1f} s", server.resources())
    first = connections[-1]  # the oldest were closed for the newer ones
    first.setblocking(False)
    with contextlib.suppress(OSError):
        while first.recv(65536):
            pass
    first.settimeout(20)
    body, headers = multipart([first_image()])
    head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {headers['Content-Type']}\r\n"
    first.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    report("/classify on an open connection:", first.recv(65536).split(b"\r\n\r\n")[-1][:120])
    for connection in connections:
        connection.close()
    time.sleep(2)
    report("afterwards /live:", server.status("GET", "/live"), server.terminate())


if __name__ == "__main__":
    main()
