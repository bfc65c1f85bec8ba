"""API keys with scopes; for a server without keys, protection against web pages: same origin and known hosts.

Starlette's TrustedHostMiddleware doesn't fit: it knows names and `*.domain`, but not "any address" or "any name without
a dot", which a server without a configured name must accept, and it can't exempt health checks.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import Request

from server.exceptions import CrossOriginError, ForbiddenError, HostNotAllowedError, KeyFileError, UnauthorizedError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each includes the ones before it."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""As in RFC 9110; browsers themselves hide the responses from pages of other origins."""

bearer_scheme = HTTPBearer(auto_error=False, description="An API key, if the server has keys.")
api_key_scheme = APIKeyHeader(name="X-API-Key", auto_error=False, description="The API key in its own header.")


def key_of(headers: Mapping[str, str]) -> str | None:
    """The API key in `headers` (lowercase names): from `Authorization: Bearer`, else from `X-API-Key`."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


class Keys:
    """API keys and their scopes, from entries "SCOPE KEY" or "SCOPE:KEY".

    A key is printable ASCII without spaces, so that a header can carry it. Without any key, every request is allowed,
    as on one's own machine. Raises KeyFileError, whose message contains no part of a key.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._levels: list[tuple[bytes, int]] = []
        for number, entry in enumerate((entry.strip() for entry in entries), 1):
            if not entry or entry.startswith("#"):
                continue
            scope, _, key = re.sub(r"[:\s]\s*", " ", entry, count=1).partition(" ")
            if scope not in SCOPES or not re.fullmatch(r"[!-~]{16,}", key):
                raise KeyFileError(
                    f"invalid API key, entry {number}: write a scope ({', '.join(SCOPES)}) and a key of at least 16 "
                    "printable ASCII characters, as SCOPE:KEY,SCOPE:KEY or, in a file, one SCOPE KEY per line"
                )
            self._levels.append((key.encode(), SCOPES.index(scope)))

    @classmethod
    def read(cls, path: Path | None, text: str = "") -> Keys:
        """Read keys from the lines of a file, or from comma-separated text. Raises KeyFileError, also if both are
        given, or if the one given contains no key: the server would be open to everybody."""
        if path is None:
            keys = cls(text.replace(",", "\n").splitlines())
            if text.strip() and not keys:
                raise KeyFileError("ALEXNET_KEYS has no API key: write SCOPE:KEY,SCOPE:KEY, or unset it")
            return keys
        if text.strip():
            raise KeyFileError(f"API keys are set in both ALEXNET_KEYS and {path}: keep only one")
        try:
            keys = cls(path.read_text("utf-8-sig").splitlines())  # editors on Windows write a byte-order mark
        except OSError as error:
            raise KeyFileError(f"cannot read API keys from {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise KeyFileError(f"cannot read API keys from {path}: it is not UTF-8, save it as UTF-8") from error
        if not keys:
            raise KeyFileError(f"no API key in {path}: write one SCOPE KEY per line, or serve without --keys-file")
        return keys

    def __bool__(self) -> bool:
        return bool(self._levels)

    def find(self, key: str | None) -> tuple[int, int]:
        """The number of a key, and the level of its scope; -1, -1 for an unknown key.

        Every key is compared, each in constant time, so that response times reveal nothing.
        """
        given, number, level = (key or "").encode(), -1, -1
        for position, (known, known_level) in enumerate(self._levels):
            if hmac.compare_digest(known, given) and known_level > level:
                number, level = position, known_level
        return number, level

    def is_admin(self, key: str | None) -> bool:
        """Whether a key is an administrator's; always False if the server has no keys."""
        return self.find(key)[1] == SCOPES.index("admin")

    def require(self, scope: Scope, key: str | None) -> None:
        """Raises UnauthorizedError or ForbiddenError unless `key` has the scope."""
        if not self._levels:
            return
        _, level = self.find(key)
        if level < 0:
            raise UnauthorizedError("missing or unknown API key: send Authorization: Bearer KEY or X-API-Key: KEY")
        if level < SCOPES.index(scope):
            raise ForbiddenError(f"this API key has scope '{SCOPES[level]}'; '{scope}' is required")


class AllowedHosts:
    """The names under which the server answers: addresses, names without a dot or below `localhost`, and `names`, where
    `*.domain` is any name below a domain and `*` any name.

    This prevents DNS rebinding: a web page whose own domain was made to resolve to this server sends that domain.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {name.lower().removesuffix(".") for name in names}

    def check(self, request: Request) -> None:
        """Raise HostNotAllowedError for any other name in the Host header, or in a proxy's `X-Forwarded-Host`."""
        for host in (request.headers.get("host", ""), request.scope.get("forwarded_host", "")):
            if "*" not in self.names and not self._allows(_host_name(host)):
                raise HostNotAllowedError(
                    f"Host header not allowed: {host[:80]!r}. Allow this name with --allowed-hosts NAME "
                    "(ALEXNET_ALLOWED_HOSTS), use localhost or an IP address, or set API keys"
                )

    def _allows(self, name: str) -> bool:
        own = "." not in name or name.endswith(".localhost") or _is_address(name)
        return own or any(
            name == allowed or (allowed.startswith("*.") and name.endswith(allowed[1:])) for allowed in self.names
        )


def check_same_origin(request: Request, allowed_origins: Sequence[str]) -> None:
    """Raise CrossOriginError if a web page of another origin sent this request and it could change something.

    Such a page is recognized by `Sec-Fetch-Site` or, in browsers that don't send it, by an `Origin` that is neither
    the Host header nor the forwarded host.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if request.method in SAFE_METHODS or origin in allowed_origins or site in ("same-origin", "none"):
        return
    own = {request.headers.get("host"), request.scope.get("forwarded_host")} - {None, ""}
    if site is not None or (origin is not None and origin.partition("://")[2] not in own):
        raise CrossOriginError(
            f"cross-origin request from {(origin or 'another site')[:80]}: allow its origin with --cors-origins ORIGIN "
            "(ALEXNET_CORS_ORIGINS)"
        )


def _host_name(host: str) -> str:
    """NAME of `NAME:PORT`."""
    return re.sub(r":\d*$", "", host).strip("[]").lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
