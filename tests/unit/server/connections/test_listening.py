"""Listening: sockets, and their addresses as clients can open them."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from server.connections.listening import (
    bind,
    bind_unix,
    check_address,
    display_url,
    is_local,
    listen,
    remove_unix_socket,
)
from server.exceptions import BindError


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}/vision/"),
        ("::1", "http://[::1]:{}/vision/"),
        ("0.0.0.0", "http://127.0.0.1:{}/vision/ (and at all addresses of this machine)"),
        ("localhost", "http://127.0.0.1:{}/vision/"),
    ],
)
def test_the_address_can_be_opened(host: str, expected: str) -> None:
    listeners = bind(host, 0)
    ports = {listener.getsockname()[1] for listener in listeners}
    assert len(ports) == 1
    port = ports.pop()
    assert port
    urls = [display_url(listener, "/vision") for listener in listeners]
    assert expected.format(port) in urls
    assert all(map(is_local, listeners)) == (host != "0.0.0.0")
    for listener in listeners:
        listener.listen()
    name = urls[0].removeprefix("http://").rpartition(":")[0].strip("[]")
    socket.create_connection((name, port)).close()
    with pytest.raises(
        BindError, match=rf"on .*: Address already in use; stop .*--port {port % 65535 + 1}, or --port 0"
    ):
        check_address(host, port)
    for listener in listeners:
        listener.close()
    check_address(host, port)


def test_connections_send_small_parts_at_once() -> None:
    """Otherwise, on kept-alive connections, a response's body waits 40 ms behind its headers."""

    async def read_option() -> int:
        accepted = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        (listener,) = bind("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            option: int = await accepted
            writer.close()
            return option

    assert asyncio.run(asyncio.wait_for(read_option(), 30)) == 1


def test_an_address_that_is_no_address_of_this_machine() -> None:
    with pytest.raises(BindError, match=r"cannot listen on \[2001:db8::1\]:80"):
        bind("2001:db8::1", 80)
    with pytest.raises(BindError):
        bind("nothing.invalid", 80)
    with pytest.raises(BindError, match="invalid host name; choose another --host"):
        bind("a..b", 80)


def test_two_that_start_at_once_on_one_port() -> None:
    """Both can bind to it; the second to listen says in a line why it can't."""
    (first,) = bind("127.0.0.1", 0)
    (second,) = bind("127.0.0.1", first.getsockname()[1])
    with first, second:
        listen(first, 1)
        listen(first, 2)
        with pytest.raises(BindError, match="Address already in use; stop the program that uses it"):
            listen(second, 1)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    killed = bind_unix(path)
    killed.close()  # its socket file stays
    with bind_unix(path) as listener:
        listener.listen()
        assert f"curl --unix-socket {path}" in display_url(listener)
        with pytest.raises(BindError, match="already in use"):
            bind_unix(path)
        remove_unix_socket(path)
        assert path.exists()
    remove_unix_socket(path)
    assert not path.exists()
    path.write_text("a file of somebody's")
    with pytest.raises(BindError):
        bind_unix(path)
    remove_unix_socket(path)
    assert path.exists()
    remove_unix_socket(None)


def test_a_unix_socket_that_another_server_replaces_before_it_is_served(tmp_path: Path) -> None:
    """Both start at once: the first would listen where no client finds it."""
    path = tmp_path / "socket"
    with bind_unix(path) as first, bind_unix(path) as second:
        with pytest.raises(BindError, match="another server replaced it; choose another path with --uds"):
            listen(first, 1)
        listen(second, 2)
        listen(second, 2)
