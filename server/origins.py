"""Which web pages may ask. A browser sends what any page tells it to, also to a server on its own machine that nobody
else can reach and that asks for no key."""

from __future__ import annotations

import ipaddress
import re

from starlette.requests import Request

from model.exceptions import AlexNetError
from server.service import Service
from server.settings import Settings

READS = ("GET", "HEAD", "OPTIONS")
"""Whose answers a browser keeps from pages of other origins by itself."""


class ForeignPageError(AlexNetError):
    """A web page that isn't the server's own, and isn't named in its settings."""


def allowed(settings: Settings) -> list[str]:
    """Origins of web pages that may ask; `*` for all."""
    return [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]


def require_own_page(request: Request) -> None:
    """Let pass what isn't a browser's, or a page's that is ours or allowed; with keys everything, since only our page
    has one. Raises ForeignPageError.

    A page that is at home elsewhere is known by `Sec-Fetch-Site`, or where there is none by an `Origin` that isn't the
    address asked. One whose own name was made to lead here (DNS rebinding) is known by that name: without keys the
    server is asked by addresses and by names without a dot, which nobody can buy.
    """
    service: Service = request.app.state.service
    origins, asked = allowed(service.settings), request.headers.get("host", "")
    if service.keys or "*" in origins:
        return
    if not _is_ours(asked, origins):
        raise ForeignPageError(
            f"expected to be asked as localhost or by an address, found {asked[:80]!r}: with keys any name will do, "
            "and ALEXNET_CORS_ORIGINS=https://NAME allows this one"
        )
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if request.method in READS or origin in origins or site in ("same-origin", "none"):
        return
    if site is not None or (origin is not None and origin.partition("://")[2] != asked):
        raise ForeignPageError(
            f"expected the server's own page, found one of {(origin or 'another site')[:80]}: "
            "ALEXNET_CORS_ORIGINS names pages that may ask"
        )


def _is_ours(host: str, origins: list[str]) -> bool:
    name = _name(host)
    return (
        "." not in name
        or name.endswith(".localhost")
        or _is_address(name)
        or name in [_name(origin.partition("://")[2]) for origin in origins]
    )


def _name(host: str) -> str:
    """Of `NAME:PORT`."""
    return re.sub(r":\d*$", "", host).strip("[]").lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
