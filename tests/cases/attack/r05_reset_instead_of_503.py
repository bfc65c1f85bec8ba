"""Is an early 503 readable? One slow body holds the only slot; the others vary in size and in `Connection: close`."""

from __future__ import annotations

import os
import socket

from tests.cases.attack.harness import LOGS, Server, copy_index, count, report, run_shell

PORT = 8632
ADDRESS = ("127.0.0.1", PORT)
CURL = "curl -s -o /dev/null -w '%{http_code} %{errormsg}'"


def post(num_bytes: int, close: bool) -> str:
    head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {num_bytes}\r\n"
    head += "Connection: close\r\n\r\n" if close else "\r\n"
    try:
        with socket.create_connection(ADDRESS, timeout=10) as connection:
            connection.sendall(head.encode() + b"x" * num_bytes)
            response = connection.recv(400)
    except OSError as error:
        return type(error).__name__
    return response[9:12].decode() + (" Retry-After" if b"retry-after" in response.lower() else "")


def main() -> None:
    environment = {"ALEXNET_MAX_CONCURRENT_REQUESTS": "1"}
    server = Server(PORT, copy_index("index_full"), log="r05.log", environment=environment)
    with socket.create_connection(ADDRESS) as slow:
        slow.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        for num_bytes in (20_000, 200_000, 2_000_000, 20_000_000):
            for close in (True, False):
                statuses = count([post(num_bytes, close) for _ in range(10)])
                report(f"body of {num_bytes:>10,} bytes, {'closing' if close else 'keep-alive':10}", statuses)
        file = LOGS / "5mb.bin"
        file.write_bytes(os.urandom(5_000_000))
        for body in (f"--data-binary @{file}", f"-F image=@{file}"):
            command = f"{CURL} {body} http://127.0.0.1:{PORT}/classify"
            report(f"curl {body.split()[0]} of 5 MB:", [run_shell(command).last(60) for _ in range(3)])
    report(server.terminate())


if __name__ == "__main__":
    main()
