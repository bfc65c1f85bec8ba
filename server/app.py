"""The application: a service, its routes, the page, error handlers and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from model.exceptions import InvalidRequestError
from model.requirements import DISTRIBUTION
from server.api_reference.page import add_api_reference
from server.dependencies import require_read, require_same_origin
from server.gauges import GaugeCollector
from server.limits.bodies import BodyLimitMiddleware
from server.middleware.access_log import AccessLogMiddleware
from server.middleware.errors import InternalErrorMiddleware, ShutdownMiddleware
from server.middleware.forwarded import ForwardedMiddleware
from server.middleware.head import HeadMiddleware
from server.middleware.hosts import HostMiddleware
from server.middleware.request_id import RequestIdMiddleware
from server.middleware.security_headers import SecurityHeadersMiddleware
from server.open_inference.grpc.extra import load_serve_grpc
from server.open_inference.infer_request import LENGTH_HEADER
from server.page import WEB, show_page
from server.parameters import check_query
from server.process.server import close_service
from server.request_body.content_encoding import ContentEncodingMiddleware
from server.responses import error_handlers
from server.responses.openapi import AUTH_ERRORS, responses_for
from server.responses.schemas import ProtocolError
from server.routes import (
    classify,
    compact,
    features,
    health,
    images,
    network,
    preview,
    similar,
    sync,
    v2,
    v2_management,
)
from server.security import AllowedHosts
from server.service import Service

AUTHENTICATED = tuple(
    module.router for module in (classify, features, similar, preview, images, compact, sync, network)
)
PROTOCOL = (v2_management.router, v2.authenticated_router)
ROUTERS = (*AUTHENTICATED, health.router, health.authenticated_router, v2.router, *PROTOCOL)
ROUTE_RESPONSES = responses_for(*AUTH_ERRORS, InvalidRequestError)
PROTOCOL_RESPONSES = responses_for(*AUTH_ERRORS, InvalidRequestError, schema=ProtocolError)
"""Errors that every authenticated route may return, for its API key, origin, Host header or parameters."""

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
UNLISTED_PATHS = ("/page", "/docs", "/openapi.json")
"""Paths, besides /, that aren't in the OpenAPI document."""
EXPOSED_HEADERS = ("Server-Timing", "X-Request-ID", "Retry-After", "ETag", LENGTH_HEADER)
"""Response headers that pages of allowed origins can read, besides the CORS-safelisted ones."""


def create_app(service: Service) -> ASGIApp:
    """The HTTP interface of a service, plus gRPC if it has a port. The service is closed when the application ends.

    Raises MissingPackageError.
    """
    port = service.settings.grpc_port
    serve_grpc = load_serve_grpc() if port is not None else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serve_grpc(application, service, port) if serve_grpc and port is not None else nullcontext():
            yield
        await close_service(service)

    app = FastAPI(
        title=DISTRIBUTION,
        summary="Classify images and find similar ones with the network of Krizhevsky, Sutskever and Hinton (2012).",
        version=version(DISTRIBUTION),
        lifespan=lifespan,
        dependencies=[Depends(require_same_origin)],
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    service.metrics.registry.register(GaugeCollector(service))
    app.state.methods = methods_by_path()
    add_routes(app)
    app.mount("/page", GZipMiddleware(StaticFiles(directory=WEB)), name="page")
    app.add_route("/", show_page, include_in_schema=False)
    add_api_reference(app)
    error_handlers.install(app)
    application = _add_middleware(app, service)
    return application


def check_root_path(root_path: str) -> None:
    """Raise InvalidRequestError for a prefix that begins like one of the server's own paths: the server couldn't tell
    whether a proxy has removed it."""
    first = root_path.split("/")[:2]
    if root_path and first in [path.split("/")[:2] for path in (*methods_by_path(), *UNLISTED_PATHS)]:
        raise InvalidRequestError(
            f"--root-path {root_path} begins like the server's own path {'/'.join(first)}: choose another prefix"
        )


def _add_middleware(app: FastAPI, service: Service) -> ASGIApp:
    """Wrap the application in middleware, from the inside out.

    It wraps FastAPI's own error handling, so that responses to internal errors are logged and have an id, too.
    """
    settings = service.settings
    hosts = ["*"] if service.keys or "*" in settings.allowed_origins else settings.host_names
    limit_body = partial(BodyLimitMiddleware, timeout=settings.request_timeout, max_bytes=settings.max_body_bytes)
    wrapped: ASGIApp = limit_body(ContentEncodingMiddleware(limit_body(app)))  # as sent, and decompressed
    wrapped = HostMiddleware(HeadMiddleware(wrapped), AllowedHosts(hosts))
    wrapped = ShutdownMiddleware(wrapped, lambda: not service.remaining_shutdown_seconds)
    origins = settings.allowed_origins
    if origins:  # outside everything that refuses requests, so that a page can read why
        wrapped = CORSMiddleware(
            wrapped, origins, allow_methods=METHODS, allow_headers=["*"], expose_headers=EXPOSED_HEADERS
        )
    wrapped = ForwardedMiddleware(wrapped, settings.root_path, settings.proxies)
    wrapped = AccessLogMiddleware(InternalErrorMiddleware(wrapped), service.metrics)
    return RequestIdMiddleware(SecurityHeadersMiddleware(wrapped, allow_embedding="*" in origins))


def add_routes(app: FastAPI) -> None:
    """Add every route of the OpenAPI document."""
    known = Depends(check_query)
    for router in AUTHENTICATED:
        app.include_router(router, dependencies=[Depends(require_read), known], responses=ROUTE_RESPONSES)
    app.include_router(health.router, dependencies=[known], responses=responses_for(InvalidRequestError))
    app.include_router(health.authenticated_router, dependencies=[known], responses=ROUTE_RESPONSES)
    health_responses = responses_for(InvalidRequestError, schema=ProtocolError)
    app.include_router(v2.router, dependencies=[known], responses=health_responses)
    for router in PROTOCOL:
        app.include_router(router, dependencies=[known], responses=PROTOCOL_RESPONSES)


def methods_by_path() -> dict[str, set[str]]:
    """The methods of each path, for the `Allow` header; HEAD is allowed wherever GET is (see HeadMiddleware)."""
    methods: dict[str, set[str]] = {}
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute):
            own = route.methods or set()
            methods.setdefault(route.path, set()).update(own, {"HEAD"} if "GET" in own else ())
    return methods
