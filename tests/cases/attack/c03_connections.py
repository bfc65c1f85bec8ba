"""Up to 200 slow connections of each kind; tiny chunks; slow readers; what GET requests cost; Range; /kernels."""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from tests.cases.attack.harness import (
    Server,
    copy_index,
    count,
    first_image,
    probe_live,
    report,
    run_at_once,
    run_parts,
    worst,
)

PORT = 8603
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"
POST = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
PATCH = b"PATCH /images/3 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
server = Server(PORT, copy_index("index_connections"), log="connections.log")


def connect(number: int, data: bytes = b"", receive_buffer: int = 0) -> list[socket.socket]:
    """Open connections, and send the same bytes on each."""
    connections = list[socket.socket]()
    for _ in range(number):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(5)
        try:
            connection.connect(("127.0.0.1", PORT))
            connection.sendall(data)
        except OSError as error:
            report("connection", len(connections), repr(error))
            break
        connections.append(connection)
    return connections


def count_closed(connections: list[socket.socket]) -> int:
    """How many of the connections the server has closed."""
    closed = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            while connection.recv(65536):
                pass
            closed += 1
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    return closed


def watch(name: str, connections: list[socket.socket], dribble: bytes = b"", seconds: float = 60) -> None:
    """Until the server has closed all connections, or `seconds` are over: send `dribble` on each about every second,
    request /live and classify an image. Report the slowest responses."""
    start, image = time.monotonic(), first_image()
    live, classified = list[float](), list[tuple[int | str, float]]()
    while time.monotonic() - start < seconds and count_closed(connections) < len(connections):
        for connection in connections if dribble else ():
            with contextlib.suppress(OSError):
                connection.send(dribble)
        begin = time.monotonic()
        server.status("GET", "/live", timeout=10)
        live.append(time.monotonic() - begin)
        begin = time.monotonic()
        classified.append((server.status("POST", "/classify", image, timeout=30), time.monotonic() - begin))
        time.sleep(1)
    report(
        f"{name}: {count_closed(connections)} of {len(connections)} closed after {time.monotonic() - start:.0f} s;",
        f"/live {max(live, default=0):.2f} s at most; /classify {count([status for status, _ in classified])},",
        f"{max((seconds for _, seconds in classified), default=0):.2f} s at most;",
        server.resources(),
    )
    for connection in connections:
        connection.close()
    time.sleep(1)


def slow_requests() -> None:
    watch("headers, a byte per second", connect(200, LIVE + b"X:"), b"a")
    watch("silent", connect(200))
    watch("a response, then half a request", connect(200, LIVE + b"\r\nGET /li"))
    watch("a response, then a line break per second", connect(200, LIVE + b"\r\n"), b"\r\n", 80)
    watch("bodies, a byte per second", connect(200, POST.format("/classify").encode()), b"a", 45)
    watch("bodies to an unknown address", connect(200, POST.format("/nothing").encode()), b"a", 45)
    watch("PATCH bodies", connect(60, PATCH), b" ", 45)


def slow_readers() -> None:
    """Request 20 pipelined lists on each connection, and read nothing."""
    lists = b"GET /images?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
    connections, start = connect(200, lists, receive_buffer=4096), time.monotonic()
    maximum: dict[str, int] = {}
    while time.monotonic() - start < 50:
        now = server.resources()
        maximum = {name: max(value, maximum.get(name, 0)) for name, value in now.items()}
        if now["files"] < 30 and time.monotonic() - start > 4:
            break
        time.sleep(2)
    live = server.status("GET", "/live")
    report(f"slow readers: gone after {time.monotonic() - start:.0f} s, at most {maximum}, /live {live}")
    for connection in connections:
        connection.close()


def tiny_chunks() -> None:
    for connections, megabytes, path in ((1, 1, "/classify"), (4, 2, "/classify"), (4, 2, "/live"), (4, 2, "/nothing")):
        send_tiny_chunks(connections, megabytes, path)


def send_tiny_chunks(connections: int, megabytes: int, path: str) -> None:
    body = b"1\r\na\r\n" * (megabytes * 1_000_000 // 6) + b"0\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    outcomes = list[object]()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", PORT), timeout=120) as connection:
            try:
                connection.sendall(head + body)
                outcomes.append(connection.recv(100)[9:12])
            except OSError as error:
                outcomes.append(type(error).__name__)

    start, cpu = time.monotonic(), server.cpu_seconds()
    with probe_live(server) as probes:
        run_at_once([send] * connections)
        seconds = time.monotonic() - start
    report(
        f"one-byte chunks: {connections} connections x {megabytes} MB to {path}: {seconds:.1f} s,",
        f"CPU {server.cpu_seconds() - cpu:.1f} s, worst /live {worst(probes)},", count(outcomes), server.resources(),
    )  # fmt: skip


def costs() -> None:
    ids = "&".join(f"id={number}" for number in range(1, 101))
    paths = {"/kernels": 10, "/openapi.json": 10, "/labels": 20, "/images?limit=1000": 10,
             f"/images/1/similar?k=240&{ids}": 5, "/metrics": 10, "/live": 20}  # fmt: skip
    for path, times in paths.items():
        start, cpu = time.monotonic(), server.cpu_seconds()
        statuses = {server.status("GET", path) for _ in range(times)}
        wall = 1000 * (time.monotonic() - start) / times
        report(f"{path[:50]:50} {wall:.0f} ms, CPU {1000 * (server.cpu_seconds() - cpu) / times:.0f} ms", statuses)
    statuses_at_once = list[object]()
    start = time.monotonic()
    with probe_live(server) as probes:
        run_at_once([lambda: statuses_at_once.append(server.status("GET", "/kernels"))] * 100)
    report(f"100 x /kernels at once: {count(statuses_at_once)} in {time.monotonic() - start:.1f} s,",
           f"worst /live {worst(probes)}", server.resources())  # fmt: skip


def ranges() -> None:
    singles = ",".join(f"{number}-{number}" for number in range(2000))
    for value in (singles, "0-," * 3000 + "0-", "5-1", "-0", "99999999999999999999-"):
        response = server.request("GET", "/page/app.js", headers={"Range": f"bytes={value}"})
        report("Range", value[:24], "->", response.status, len(response.body), "bytes")


if __name__ == "__main__":
    run_parts(slow_requests, slow_readers, tiny_chunks, costs, ranges)
    report(server.failures(), server.terminate())
