"""API keys: who may read, write, or administrate. Where none are configured, everybody may: one's own machine."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Literal

from model.errors import AlexNetError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each includes the ones before it."""


class KeyFileError(AlexNetError):
    """The keys can't be read."""


class UnauthorizedError(AlexNetError):
    """No key, or one that nobody has."""


class ForbiddenError(AlexNetError):
    """The key is known, but not for this."""


class Keys:
    """Keys and their scopes. Lines "SCOPE KEY" of a file, or "SCOPE:KEY,SCOPE:KEY" of an environment variable."""

    def __init__(self, text: str = "") -> None:
        self._scopes: list[tuple[bytes, int]] = []
        for entry in text.replace(",", "\n").splitlines():
            scope, _, key = entry.strip().replace(":", " ", 1).partition(" ")
            if not scope or scope.startswith("#"):
                continue
            key = key.strip()
            if scope not in SCOPES or len(key) < 16:
                raise KeyFileError(
                    f"expected lines of {', '.join(SCOPES)} and a key of at least 16 characters, "
                    f"found {scope[:5]!r} and {len(key)} characters"
                )
            self._scopes.append((key.encode(), SCOPES.index(scope)))

    @classmethod
    def read(cls, path: Path | None, text: str = "") -> Keys:
        """From a file, or from the text. Raises KeyFileError."""
        if path is None:
            return cls(text)
        try:
            return cls(path.read_text())
        except OSError as error:
            raise KeyFileError(f"expected keys in {path}, found: {error.strerror}") from error

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def require(self, scope: Scope, authorization: str | None, api_key: str | None) -> None:
        """Check `Authorization: Bearer KEY` or `X-API-Key: KEY`. Raises UnauthorizedError or ForbiddenError.

        Every key is compared, each in constant time, so that an answer's time tells nothing.
        """
        if not self._scopes:
            return
        given = api_key or ""
        if authorization and authorization.lower().startswith("bearer "):
            given = authorization[7:].strip()
        found = -1
        for key, level in self._scopes:
            if hmac.compare_digest(key, given.encode()):
                found = max(found, level)
        if found < 0:
            raise UnauthorizedError("expected a key in Authorization: Bearer or X-API-Key, found none that is known")
        if found < SCOPES.index(scope):
            raise ForbiddenError(f"expected a key with the scope {scope}, found one with {SCOPES[found]}")
