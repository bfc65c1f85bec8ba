"""The web page: `index.html` for `/`, and `404.html` for a browser at an address that doesn't exist."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

WEB = Path(__file__).parent / "web"
VARY_BY_ACCEPT = {"Vary": "Accept"}
"""For a response that is a page for browsers and JSON for other clients."""


async def show_page(request: Request) -> Response:
    """The page. Its links are relative; behind a proxy's prefix, it sets their base, since `/vision` may come without
    its slash."""
    page = (WEB / "index.html").read_text("utf-8")
    if prefix := request.scope.get("root_path"):
        page = page.replace("<head>", f'<head>\n  <base href="{prefix}/">', 1)
    return HTMLResponse(page)


def wants_page(request: Request) -> bool:
    """Whether a person's browser sent the request: it accepts HTML by name; programs that call the API don't."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def show_not_found(request: Request) -> Response:
    """The page for an address that doesn't exist. Since that may have any depth, links begin with the prefix or at the
    root."""
    prefix = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return HTMLResponse((WEB / "404.html").read_text("utf-8").replace('="./', f'="{prefix}/'), 404, VARY_BY_ACCEPT)
