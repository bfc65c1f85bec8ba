"""Content-Length beside Transfer-Encoding (RFC 9112, 6.3: the server must close); absolute form; forged log fields;
Host in redirects; half a request after a whole one; a log pipe that nobody reads; many SIGHUPs.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time

from tests.cases.attack.harness import ALEXNET, ARTIFACTS, HOME, MEMORY_LIMIT, Server, copy_index, report, run_parts

PORT = 8634
INDEX = copy_index("index_http")
END = b"Host: localhost\r\nConnection: close\r\n\r\n"


def requests() -> None:
    server = Server(PORT, INDEX, log="r07.log")
    both = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    second = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = server.send_raw(b"POST /classify HTTP/1.1\r\nHost: localhost\r\n" + both + second, timeout=3)
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    report("Content-Length and Transfer-Encoding:", statuses, received[-14:], "(must close after the first)")
    absolute = f"GET http://127.0.0.1:{PORT}/live HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nConnection: close\r\n\r\n"
    report("absolute form:", server.send_raw(absolute.encode())[9:12])
    server.send_raw(b"GET /x%20status=200%20code=%20total_ms=1%20forged HTTP/1.1\r\n" + END)
    server.send_raw(b"GET http://user:SECRETSECRET@localhost/x HTTP/1.1\r\n" + END)
    report("log:", server.log_tail(400).strip().splitlines()[-2:])
    received = server.send_raw(b"GET /metrics/ HTTP/1.1\r\n" + END.replace(b"localhost", b"evil.com"))
    head = [line for line in received.split(b"\r\n") if line.lower().startswith((b"http/", b"location"))]
    report("Host evil.com, GET /metrics/:", head)
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), timeout=90) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li")
        while connection.recv(65536):
            pass
    report(f"half a request behind a whole one: closed after {time.monotonic() - start:.0f} s")
    report(server.terminate())


def json_log() -> None:
    server = Server(PORT, INDEX, log="r07_json.log", environment={"ALEXNET_LOG_FORMAT": "json"})
    server.send_raw(b"GET /a%22,%22status%22:200 HTTP/1.1\r\n" + END)
    invalid = []
    for line in server.log.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            invalid.append(line[:90])
    report("lines of a JSON log that aren't JSON:", len(invalid), invalid, server.terminate())


def log_pipe() -> None:
    """Log to a pipe that nobody reads."""
    server = Server(PORT, INDEX, log="r07_pipe.log")
    server.terminate()
    read_end, write_end = os.pipe()
    command = f"exec {ALEXNET} serve --artifact {ARTIFACTS} --index {INDEX} --port {PORT}"
    server.process = subprocess.Popen(
        ["bash", "-c", MEMORY_LIMIT + command], stdout=write_end, stderr=write_end, cwd=HOME
    )
    server.pid = server.process.pid
    os.close(write_end)
    server.wait_until_ready()
    answered = 0
    while answered < 2000 and server.status("GET", "/live", timeout=4) == 200:
        answered += 1
    report(f"responses before it hangs: {answered}{' (no end)' if answered == 2000 else ''};", server.terminate(10))
    os.close(read_end)


def hangups() -> None:
    server, start = Server(PORT, INDEX, log="r07_hangups.log"), time.monotonic()
    for _ in range(12):
        server.reload()
        time.sleep(0.05)
    while server.count_in_log("serving elpv version") < 13 and time.monotonic() - start < 60:
        time.sleep(0.5)
    reloads = server.count_in_log("serving elpv version") - 1
    report(f"12 SIGHUPs in 0.6 s: {reloads} reloads in {time.monotonic() - start:.0f} s;", server.resources())
    report(server.terminate())


if __name__ == "__main__":
    run_parts(requests, json_log, log_pipe, hangups)
