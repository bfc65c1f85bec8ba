"""The application: a service, its routes, the page, error handlers and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from server import error_handlers
from server.dependencies import require_read, require_same_origin
from server.limits import BodyLimitMiddleware
from server.middleware import AccessLogMiddleware, RequestIdMiddleware, SecurityHeadersMiddleware
from server.responses import AUTH_ERRORS, AUTH_RESPONSES, responses_for
from server.routes import classify, health, images, network, preview, similar, v2
from server.schemas import ProtocolError
from server.service import Service
from server.shutdown import reload_on_sighup

WEB = Path(__file__).parent / "web"
AUTHENTICATED = (classify.router, similar.router, preview.router, images.router, network.router)
OPEN_INFERENCE = (v2.router, v2.authenticated_router)
ROUTERS = (*AUTHENTICATED, health.router, *OPEN_INFERENCE)


def create_app(service: Service) -> ASGIApp:
    """The HTTP interface of a service, which is closed when the application ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with reload_on_sighup(service):
            yield
        service.close()

    app = FastAPI(
        title="alexnet-server",
        summary="Classify images and find similar ones with the network of Krizhevsky, Sutskever and Hinton (2012).",
        version=version("alexnet-server"),
        lifespan=lifespan,
        dependencies=[Depends(require_same_origin)],
    )
    app.state.service = service
    app.state.methods = methods_by_path()
    if origins := service.settings.allowed_origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
                           expose_headers=["Server-Timing", "X-Request-ID", "Retry-After"])  # fmt: skip
    add_routes(app)
    app.mount("/page", StaticFiles(directory=WEB), name="page")
    app.add_api_route("/", _page, methods=["GET", "HEAD"], include_in_schema=False)
    error_handlers.install(app)
    # outside of FastAPI's own error handling, so that the response of an internal error is logged and has an id, too
    limited = BodyLimitMiddleware(app, service.settings.request_timeout)
    logged = AccessLogMiddleware(limited, service.metrics)
    return RequestIdMiddleware(SecurityHeadersMiddleware(logged))


def add_routes(app: FastAPI) -> None:
    """Add every route of the OpenAPI document."""
    for router in AUTHENTICATED:
        app.include_router(router, dependencies=[Depends(require_read)], responses=AUTH_RESPONSES)
    app.include_router(health.router, responses=AUTH_RESPONSES)
    for router in OPEN_INFERENCE:
        app.include_router(router, responses=responses_for(*AUTH_ERRORS, schema=ProtocolError))


def methods_by_path() -> dict[str, set[str]]:
    """The methods of each address, for the `Allow` header."""
    methods: dict[str, set[str]] = {}
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute):
            methods.setdefault(route.path, set()).update(route.methods or ())
    return methods


async def _page() -> FileResponse:
    return FileResponse(WEB / "index.html")
