"""The page at /docs: Swagger UI from the files of an installed package, so that it works without a network.

FastAPI's own page loads Swagger UI from another host and contains an inline script. This page does neither, so it needs
no weaker Content-Security-Policy than the others, except for the images embedded in Swagger UI's style sheet.
"""

from __future__ import annotations

import html
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

PATH = "/docs"
HERE = Path(__file__).parent


def add_api_reference(app: FastAPI) -> None:
    """Serve the page, and below it our script and Swagger UI's files with their license (Apache 2.0)."""
    static = StaticFiles(directory=HERE / "static", packages=[("fastapi_standalone_docs", "static/swagger")])
    app.add_route(PATH, _page, include_in_schema=False)
    app.mount(PATH, GZipMiddleware(static), name="api_reference")


async def _page(request: Request) -> Response:
    prefix = html.escape(request.scope.get("root_path", ""))
    return HTMLResponse((HERE / "index.html").read_text("utf-8").replace("{prefix}", prefix))
