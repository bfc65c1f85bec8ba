"""Addresses of the server, below the prefix that a proxy removes."""

from __future__ import annotations

import re

from starlette.types import Scope

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def normalize_prefix(prefix: str) -> str:
    """A prefix with a slash at its beginning and none at its end; empty for none. Raises ValueError."""
    path = prefix.strip().rstrip("/")
    path = path if not path or path.startswith("/") else f"/{path}"
    if not PREFIX.fullmatch(path):
        raise ValueError(f"invalid prefix {prefix[:80]!r}: write a path like /vision, of letters, digits and -._~")
    return path


def route_path(scope: Scope) -> str:
    """The path of a request without the prefix."""
    path: str = scope["path"]
    return path[len(scope.get("app_root_path", scope.get("root_path", ""))) :] or "/"
