"""API keys: who may read, write, or administrate. Where none are configured, everybody may: one's own machine."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from model.exceptions import AlexNetError

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
    """Keys and their scopes, from entries "SCOPE KEY" or "SCOPE:KEY"; a key is printable ASCII without spaces, as a
    header can carry it. Raises KeyFileError, with no part of a key in it."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._scopes: list[tuple[bytes, int]] = []
        for place, entry in enumerate((e.strip() for e in entries), 1):
            if not entry or entry.startswith("#"):
                continue
            scope, _, key = re.sub(r"[:\s]\s*", " ", entry, count=1).partition(" ")
            if scope not in SCOPES or not re.fullmatch(r"[!-~]{16,}", key):
                raise KeyFileError(
                    f"expected {', '.join(SCOPES)} and a key of at least 16 printable ASCII characters, "
                    f"found entry {place} to be something else: SCOPE:KEY,SCOPE:KEY, or in a file a line SCOPE KEY each"
                )
            self._scopes.append((key.encode(), SCOPES.index(scope)))

    @classmethod
    def read(cls, path: Path | None, text: str = "") -> Keys:
        """From the lines of a file, or from the text, where commas are between them. Raises KeyFileError."""
        if path is None:
            return cls(text.replace(",", "\n").splitlines())
        try:
            return cls(path.read_text().splitlines())
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
