"""The application, assembled: a service, its routes, the page, and the errors."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import error_handlers
from server.access_log import request_answered
from server.body_limit import BoundedChanges
from server.metrics import Metrics
from server.origins import allowed, require_own_page
from server.routes import classify, health, images, network, preprocessed, similar, v2
from server.service import Service
from server.shutdown import hears_hangup
from server.timing import Phases
from server.uploads import require_read

WEB = Path(__file__).parent / "web"
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "Keys are asked for, and none that is known came."},
    403: {"description": "The key is for less, or a web page asked that may not."},
}
PAGE_POLICY = (
    b"default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)


def create_app(service: Service) -> ASGIApp:
    """The HTTP interface of a loaded service, which is closed when the application ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with hears_hangup(service):
            yield
        service.close()

    app = FastAPI(
        title="alexnet-server",
        summary="Name an image, and find the images most like it, with the 2012 network.",
        version=version("alexnet-server"),
        lifespan=lifespan,
        dependencies=[Depends(require_own_page)],
    )
    app.state.service = service
    if origins := allowed(service.settings):
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
                           expose_headers=["Server-Timing", "X-Request-ID", "Retry-After"])  # fmt: skip
    add_routes(app)
    app.mount("/page", StaticFiles(directory=WEB), name="page")
    app.add_api_route("/", _page, methods=["GET", "HEAD"], include_in_schema=False)
    error_handlers.install(app)
    bounded = BoundedChanges(app, service.settings.max_body_seconds)
    return Observed(bounded, service.metrics)  # outside everything, so that an internal error carries its id too


def add_routes(app: FastAPI) -> None:
    """Everything that is in the OpenAPI document."""
    for module in (classify, similar, preprocessed, images, network):
        app.include_router(module.router, dependencies=[Depends(require_read)], responses=REFUSALS)
    for router in (health.router, v2.router, v2.locked):
        app.include_router(router, responses=REFUSALS)


async def _page() -> FileResponse:
    return FileResponse(WEB / "index.html")


class Observed:
    """Gives each request an id, and each answer that id, where its time went, and the security headers; counts and
    logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["request_id"] = uuid.uuid4().hex
        scope["phases"] = phases = Phases()
        status = 499  # nobody was answered: the client hung up
        added = [(b"x-request-id", scope["request_id"].encode()), (b"x-content-type-options", b"nosniff"),
                 (b"referrer-policy", b"no-referrer"), (b"cross-origin-resource-policy", b"same-origin")]  # fmt: skip
        if not scope["path"].startswith(("/docs", "/redoc")):  # FastAPI's own pages load scripts from elsewhere
            added.append((b"content-security-policy", PAGE_POLICY))
        if scope["path"] == "/" or scope["path"].startswith("/page/"):  # files of two versions don't go together
            added.append((b"cache-control", b"no-cache"))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *added, (b"server-timing", phases.header())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            code = scope.get("error_code", "")
            self.metrics.answered(getattr(scope.get("route"), "path", "other"), status, code, phases)
            seconds = phases.seconds | {"total": phases.total}
            request_answered(scope["method"], scope["path"], status, code, scope["request_id"], seconds)
