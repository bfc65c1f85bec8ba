"""Which web pages may ask. A browser sends what any page tells it to, also to a server on its own machine that nobody
else can reach and that asks for no key."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.requests import Request

from model.errors import AlexNetError
from server.settings import Settings

READS = ("GET", "HEAD", "OPTIONS")
"""Whose answers a browser keeps from pages of other origins by itself."""


class ForeignPageError(AlexNetError):
    """A web page that isn't the server's own, and isn't named in its settings."""


def allowed(settings: Settings) -> list[str]:
    """Origins of web pages that may ask."""
    return [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]


def require_own_page(request: Request) -> None:
    """Let pass what isn't a browser's, or a page's that is ours or allowed. Raises ForeignPageError.

    A page that is at home elsewhere is known by `Sec-Fetch-Site`, or where there is none by an `Origin` that isn't the
    address asked. One whose own name was made to lead here (DNS rebinding) is known by that name: a server that
    listens on loopback and asks for no key is asked by addresses and by names without a dot, which nobody can buy.
    """
    settings, headers = request.app.state.service.settings, request.headers
    origins, asked = allowed(settings), headers.get("host", "")
    if _is_loopback(settings.host) and not request.app.state.service.keys and not _is_ours(asked, origins):
        raise ForeignPageError(
            f"expected to be asked as localhost, found {asked[:80]!r}: with keys any name will do, "
            "and ALEXNET_CORS_ORIGINS=https://NAME allows this one"
        )
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if request.method in READS or origin in origins or site in ("same-origin", "none"):
        return
    if site is not None or (origin is not None and origin.partition("://")[2] != asked):
        raise ForeignPageError(
            f"expected the server's own page, found one of {(origin or 'another site')[:80]}: "
            "ALEXNET_CORS_ORIGINS names pages that may ask"
        )


def _is_ours(host: str, origins: list[str]) -> bool:
    name = re.sub(r":\d*$", "", host).strip("[]").lower()
    if "." not in name or name.endswith(".localhost") or _is_address(name):
        return True
    return any(urlsplit(origin).hostname == name for origin in origins)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
