"""Where a request was sent: absolute-form targets, a proxy's prefix and headers, trailing slashes.

No response redirects: an address with a trailing slash is the same as without it.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.addresses import UNIX_SOCKET, normalize_prefix
from server.responses.error_handlers import respond_bad_request

ABSOLUTE_FORM = re.compile(rb"https?://([^/?#]*)([^?#]*)", re.IGNORECASE)


class ForwardedMiddleware:
    """Sets a request's path, prefix (`root_path`), scheme and client to what its sender meant.

    `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` count only from the addresses in `trusted_proxies`, where
    UNIX_SOCKET stands for every client of a Unix socket. A proxy may remove `root_path` from a path or leave it.
    `scope["forwarded_host"]`: the host name that the browser used.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusted_proxies: list[str]) -> None:
        self.app, self.root_path = app, root_path
        self.proxy_headers = ProxyHeadersMiddleware(app, trusted_proxies)  # type: ignore[arg-type]
        self.trusted = self.proxy_headers.trusted_hosts
        if "*" in trusted_proxies:
            self.trusted.always_trust = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._resolve(scope)
        except ValueError as error:
            await respond_bad_request(Request(scope), str(error))(scope, receive, send)
            return
        await self.proxy_headers(scope, receive, send)  # type: ignore[arg-type]

    def _resolve(self, scope: Scope) -> None:
        """Raises ValueError."""
        scope["client"] = scope["client"] or (UNIX_SOCKET, 0)
        _resolve_target(scope)
        headers, path, prefix = Headers(scope=scope), scope["path"], self.root_path
        if scope["client"][0] in self.trusted:
            scope["forwarded_host"] = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        if scope["client"][0] in self.trusted and "x-forwarded-prefix" in headers:
            prefix = normalize_prefix("".join(map(normalize_prefix, headers["x-forwarded-prefix"].split(","))))
        elif prefix and (path == prefix or path.startswith(f"{prefix}/")):  # this proxy left the prefix
            path = path[len(prefix) :] or "/"
        path = path if path == "/" else path.removesuffix("/")
        scope["root_path"], scope["path"] = prefix, prefix + path
        scope["raw_path"] = quote(scope["path"]).encode()


def _resolve_target(scope: Scope) -> None:
    """Turn `GET http://name/path`, as sent to a proxy, into `GET /path` with `Host: name` (RFC 9112, 3.2.2).

    Raises ValueError.
    """
    if scope["path"].startswith("/"):
        return
    form = ABSOLUTE_FORM.fullmatch(scope["raw_path"])
    scope["path"] = "-"  # the log must not show a target, which may contain a password
    if form is None:
        raise ValueError("the request target is not a path: send GET /path")
    scope["path"] = unquote(form[2].decode("ascii")) or "/"
    MutableHeaders(scope=scope)["host"] = form[1].rpartition(b"@")[2].decode("ascii")
