"""Listening: sockets that are bound before anything slow is done, and their addresses for a browser."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from pathlib import Path

from server.exceptions import BindError

UNIX_SOCKET_MODE = 0o666
"""Everybody who can enter the folder can connect: its mode controls access, and a proxy is often another user."""
PEER = struct.Struct("3i")
"""The value of SO_PEERCRED: process id, user and group of the listener."""


def bind(host: str, port: int, option: str = "--port") -> list[socket.socket]:
    """Sockets bound to all addresses of a host, on one port; 0 picks a free one. Raises BindError, which names the
    `option` that chose the port."""
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    try:
        kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
        for family, _, _, _, address in socket.getaddrinfo(host or None, port, type=kind, flags=flags):
            try:
                sockets.append(_bind_to(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                unavailable = error  # `localhost` may resolve to an IPv6 address where there is no IPv6
            else:
                port = sockets[-1].getsockname()[1]
        if not sockets and unavailable:
            raise unavailable
    except (OSError, UnicodeError) as error:  # UnicodeError: an impossible name, such as a..b
        for listener in sockets:
            listener.close()
        raise BindError(_explain(error, host, port, option)) from error
    return sockets


def listen(listener: socket.socket, backlog: int) -> None:
    """Listen on a bound socket. Raises BindError.

    Two servers that start at the same time can both bind to a port, and one may replace the other's Unix socket.
    """
    address = listener.getsockname()
    try:
        listener.listen(backlog)
    except OSError as error:
        raise BindError(_explain(error, *address[:2])) from error
    if listener.family == socket.AF_UNIX and not _leads_here(address):
        raise BindError(f"cannot listen on {address}: another server replaced it; choose another path with --uds")


def _explain(error: OSError | UnicodeError, host: str, port: int, option: str = "--port") -> str:
    remedy = f"choose another --host or {option}"
    if isinstance(error, UnicodeError):
        return f"cannot listen on {join_address(host, port)}: invalid host name; {remedy}"
    if error.errno == errno.EADDRINUSE:
        remedy = (
            f"stop the program that uses it, or choose another port: {option} {port % 65535 + 1}, or {option} 0 for "
            "any free one"
        )
    return f"cannot listen on {join_address(host, port)}: {error.strerror or error}; {remedy}"


def _bind_to(family: int, address: tuple[object, ...]) -> socket.socket:
    # asyncio sets TCP_NODELAY only if the protocol is given; otherwise the second part of a response is 40 ms late
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def bind_unix(path: Path) -> socket.socket:
    """A Unix socket bound to a path; a socket that a killed server left there is replaced. Raises BindError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _is_served(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(UNIX_SOCKET_MODE)
    except OSError as error:
        listener.close()
        raise BindError(
            f"cannot listen on {path}: {error.strerror or error}; choose another path with --uds"
        ) from error
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def _leads_here(address: str) -> bool:
    """Whether this process accepts the connections to a Unix socket; True if the system can't tell."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(address)
        except OSError:
            return False
        if not hasattr(socket, "SO_PEERCRED"):
            return True
        pid, _, _ = PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return bool(pid == os.getpid())


def check_address(host: str, port: int, option: str = "--port") -> None:
    """Raise BindError if the server can't listen on this address. `option`: see `bind`."""
    for listener in bind(host, port, option):
        listener.close()


def remove_unix_socket(path: Path | None) -> None:
    """Remove the file of a Unix socket that nobody serves any longer."""
    if path is not None and path.is_socket() and not _is_served(path):
        path.unlink(missing_ok=True)


def display_url(listener: socket.socket, prefix: str = "") -> str:
    """The address of a bound socket for a browser or curl."""
    if listener.family == socket.AF_UNIX:
        return f"http://localhost{prefix}/ (curl --unix-socket {listener.getsockname()})"
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
        return f"http://{join_address(host, port)}{prefix}/ (and at all addresses of this machine)"
    return f"http://{join_address(host, port)}{prefix}/"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach a bound socket."""
    return listener.family == socket.AF_UNIX or ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def join_address(host: str, port: int) -> str:
    """HOST:PORT, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
