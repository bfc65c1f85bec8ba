"""The web page: `index.html` for `/`, and `404.html` for a browser at an address that doesn't exist."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

WEB = Path(__file__).parent / "web"
VARY_BY_ACCEPT = {"Vary": "Accept"}
"""Of a response that is this page for some, and JSON for others."""


async def show_page(request: Request) -> Response:
    """The page. Its links are relative, to the prefix where a proxy has one: `/vision` may come without its slash."""
    page = (WEB / "index.html").read_text("utf-8")
    if prefix := request.scope.get("root_path"):
        page = page.replace("<head>", f'<head>\n  <base href="{prefix}/">', 1)
    return HTMLResponse(page)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks: it accepts HTML by name, which programs that call the API don't."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def show_not_found(request: Request) -> Response:
    """The page for an address that doesn't exist, at any depth: its links begin with the prefix, or at the root."""
    prefix = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return HTMLResponse((WEB / "404.html").read_text("utf-8").replace('="./', f'="{prefix}/'), 404, VARY_BY_ACCEPT)
