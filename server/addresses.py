"""Addresses of the server, relative to a proxy's prefix, and of clients on a Unix socket."""

from __future__ import annotations

import re

from starlette.types import Scope

UNIX_SOCKET = "unix"
"""The address of clients that connect to a Unix socket."""
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
MAX_PREFIX_LENGTH = 200
"""Characters. A response may contain the prefix three thousand times: three times for each of 1000 images."""


def normalize_prefix(prefix: str) -> str:
    """The prefix with a leading slash and no trailing one; empty if there is none. Raises ValueError."""
    path = prefix.strip().rstrip("/")
    path = path if not path or path.startswith("/") else f"/{path}"
    if len(path) > MAX_PREFIX_LENGTH or not PREFIX.fullmatch(path):
        raise ValueError(
            f"invalid prefix {prefix[:80]!r}: write a path like /vision (letters, digits and -._~, at most "
            f"{MAX_PREFIX_LENGTH} characters)"
        )
    return path


def route_path(scope: Scope) -> str:
    """The path of a request without the prefix."""
    path: str = scope["path"]
    return path[len(scope.get("app_root_path", scope.get("root_path", ""))) :] or "/"
