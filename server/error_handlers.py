"""Exception handlers: every exception becomes a response with a status, a code and one JSON shape."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from model.exceptions import AlexNetError, InvalidRequestError
from server.exceptions import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    ErrorInfo,
    OverloadedError,
    error_info,
)
from server.responses import error_detail
from server.schemas import ErrorResponse

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; only the log and the metrics see it."""
FRAMEWORK = {info.status: info for info in (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED)}


def install(app: FastAPI) -> None:
    """Handle every exception of the application."""
    app.add_exception_handler(AlexNetError, _handle_alexnet_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_unexpected)


def _respond(request: Request, info: ErrorInfo, message: str, headers: Mapping[str, str] | None = None) -> Response:
    request.scope["error_code"] = info.code
    detail = error_detail(request, info.code, message)
    if request.url.path.startswith("/v2"):  # the Open Inference Protocol has a shape of its own
        return JSONResponse({"error": detail.message}, info.status, headers)
    return JSONResponse(ErrorResponse(error=detail).model_dump(), info.status, headers)


def _handle_alexnet_error(request: Request, error: Exception) -> Response:
    info = error_info(type(error))
    if info == INTERNAL_ERROR:
        return _handle_unexpected(request, error)
    if info.status >= 500 and error.__cause__ is not None:
        logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    headers = {}
    if info.status == 503:
        seconds = error.retry_after if isinstance(error, OverloadedError) else 1.0
        headers["Retry-After"] = f"{math.ceil(seconds)}"
    if info.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _respond(request, info, str(error), headers)


def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    place = " ".join(str(part) for part in problem["loc"])
    return _respond(request, error_info(InvalidRequestError), f"{place}: {problem['msg']}")


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, AlexNetError):  # raised while the framework read a body
        return _handle_alexnet_error(request, error.__cause__)
    info = FRAMEWORK.get(error.status_code, ErrorInfo(error.status_code, "http_error", ""))
    headers = dict(error.headers or {})
    if info == METHOD_NOT_ALLOWED:  # an address has a route per method; the framework's header names only the first's
        path = getattr(request.scope.get("route"), "path", "")
        methods = request.app.state.methods.get(path)
        headers["Allow"] = ", ".join(sorted(methods)) if methods else headers.get("Allow", "")
    return _respond(request, info, str(error.detail), headers)


def _handle_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)  # the client disconnected while it was sending: nobody reads it


def _handle_unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    return _respond(request, INTERNAL_ERROR, "internal error; the server's log has the reason under this request id")
