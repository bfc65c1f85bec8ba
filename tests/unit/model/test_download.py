"""Downloads over a network that cuts, lies and fails: whole or not at all, and resumed instead of restarted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import download
from model.download import RemoteFile, fetch, verify
from model.exceptions import DownloadError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


class Server(ThreadingHTTPServer):
    """A server whose next answers follow `plan`, one word per answer; all later answers are correct."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str] = []
        self.ranges: list[str | None] = []

    def handle_error(self, *_: Any) -> None:
        """Ignore errors: clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        do = self.server.plan.pop(0) if self.server.plan else ""
        if do in ("404", "503"):
            return self.send_error(int(do))
        body = {"page": PAGE, "wrong": CONTENT[::-1], "short": CONTENT[:-5]}.get(do, CONTENT)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and do != "no ranges" else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + 1_000_000 if do == "cut" else len(body)
        self.wfile.write(body[start:end])
        self.close_connection = True
        return None

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)


def release(server: Server, size: int = len(CONTENT)) -> RemoteFile:
    address = f"http://127.0.0.1:{server.server_port}/net.onnx"
    return RemoteFile("net.onnx", address, size, hashlib.sha256(CONTENT).hexdigest())


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_fetched_once(server: Server, tmp_path: Path) -> None:
    assert fetch(release(server), tmp_path / "data").read_bytes() == CONTENT
    fetch(release(server), tmp_path / "data")
    assert server.ranges == [None]
    assert visible(tmp_path / "data") == ["net.onnx"]


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "503", "cut"]
    assert fetch(release(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=1000000-", "bytes=2000000-"]


def test_a_later_call_resumes_too(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_ATTEMPTS", 1)
    server.plan = ["cut", "503"]
    with pytest.raises(DownloadError, match=r"503 Service Unavailable\. Download http.* elsewhere and put it at"):
        fetch(release(server), tmp_path)
    assert visible(tmp_path) == ["net.onnx.part"]
    assert fetch(release(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges[2:] == ["bytes=1000000-"]


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "no ranges"]
    assert fetch(release(server), tmp_path).read_bytes() == CONTENT


def test_all_but_the_name_was_there(server: Server, tmp_path: Path) -> None:
    """As if killed between the last byte and the renaming: the server has no more bytes, and the checksum decides."""
    (tmp_path / "net.onnx.part").write_bytes(CONTENT)
    assert fetch(release(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("plan", "size", "result"),
    [
        ("page", len(CONTENT), "expected 3,000,000 bytes, got 48 of"),
        ("page", 0, "it is a web page"),
        ("short", len(CONTENT), "got 2,999,995"),
        ("wrong", len(CONTENT), "expected sha256 .*, got "),
        ("404", len(CONTENT), "404 Not Found"),
    ],
)
def test_other_bytes_are_refused_and_removed(server: Server, tmp_path: Path, plan: str, size: int, result: str) -> None:
    server.plan = [plan]
    with pytest.raises(DownloadError, match=result):
        fetch(release(server, size), tmp_path)
    assert visible(tmp_path) == []


def test_a_mirror_has_the_file_by_its_name(server: Server, tmp_path: Path) -> None:
    there = release(server)
    elsewhere = there._replace(url="http://127.0.0.1:9/net.onnx")
    mirror = there.url.removesuffix("net.onnx")
    assert fetch(elsewhere, tmp_path, mirror).read_bytes() == CONTENT


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    away = RemoteFile("net.onnx", "http://127.0.0.1:9/net.onnx", 1, "0" * 64)
    with pytest.raises(DownloadError, match=r"Connection refused.*put it at .*net.onnx, or pass it with --from FILE"):
        fetch(away, tmp_path)
    with pytest.raises(DownloadError, match="invalid URL"):
        fetch(away, tmp_path, mirror="no address")
    assert visible(tmp_path) == []


def test_a_full_disk_is_said_before_and_while(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="not enough free space"):
        fetch(release(server, 1 << 60), tmp_path)
    (tmp_path / "net.onnx.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"can't write .*No space left"):
        fetch(release(server), tmp_path)
    assert not (tmp_path / "net.onnx").exists()


def test_a_damaged_file_that_is_there_is_named_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DownloadError, match="expected sha256"):
        fetch(release(server), tmp_path)
    assert visible(tmp_path) == ["net.onnx"]


def test_a_file_of_the_user_is_kept_whatever_it_is_called(server: Server, tmp_path: Path) -> None:
    """Such as a browser's unfinished download, given with --from."""
    (tmp_path / "mine.part").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match="expected 3,000,000 bytes, got 2,999,999"):
        verify(tmp_path / "mine.part", release(server))
    assert visible(tmp_path) == ["mine.part"]
