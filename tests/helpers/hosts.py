"""Hosts on one machine: network namespaces with an address each, joined by a bridge in a namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def missing() -> str:
    """Why hosts can't be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "expected iproute2: make hosts"
    if os.geteuid() != 0:
        return "expected root, who may make network namespaces"
    name = f"alexnet-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "expected a kernel and a container that allow network namespaces"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


class Host:
    """A namespace with the address `address` on its interface `eth0`."""

    def __init__(self, name: str, address: str, port: str, switch: str) -> None:
        self.name, self.address = name, address
        self._port, self._switch = port, switch

    def start(self, command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """Start a process on this host; `ip netns exec` becomes the command itself, so that signals reach it."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, command)], text=True, **options)

    def run(self, *command: object) -> str:
        """Run a command on this host. Returns its standard output."""
        words = ["ip", "netns", "exec", self.name, *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def link(self, state: str) -> None:
        """`down`: pull this host's cable without telling the other hosts. `up`: plug it in again."""
        _ip("-n", self._switch, "link", "set", self._port, state)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """`count` hosts, 10.77.0.1 and up, deleted after use. Skips the test if they can't be made."""
    if reason := missing():
        pytest.skip(reason)
    switch, made = f"alexnet-{os.getpid()}-switch", list[Host]()
    _ip("netns", "add", switch)
    try:
        _ip("-n", switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge0", "up")
        for number in range(1, count + 1):
            host = Host(f"alexnet-{os.getpid()}-{number}", f"10.77.0.{number}", f"port{number}", switch)
            _ip("netns", "add", host.name)
            made.append(host)
            _ip("-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "eth0", "netns", host.name)
            _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge0", "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", interface, "up")
        yield made
    finally:
        for name in (*(host.name for host in made), switch):
            _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=Path("/"))
