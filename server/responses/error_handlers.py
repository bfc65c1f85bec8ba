"""Exceptions become responses with a status, a code and one JSON shape; causes that they don't reveal are logged."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from model.exceptions import AlexNetError, InvalidRequestError, StorageFullError
from server.addresses import route_path
from server.exceptions import (
    BAD_REQUEST,
    FRAMEWORK_ERRORS,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    ErrorInfo,
    InvalidBodyError,
    InvalidHeaderError,
    MissingBodyError,
    OverloadedError,
    RateLimitedError,
    UnsupportedEncodingError,
    error_info,
)
from server.page import VARY_BY_ACCEPT, show_not_found, wants_page
from server.parameters import unknown_name_error
from server.request_body.content_encoding import ACCEPTED_ENCODINGS
from server.request_body.uploads import is_json
from server.responses.schemas import ErrorDetail, ErrorResponse

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; only the log and the metrics see it."""
FRAMEWORK_ERRORS_BY_STATUS = {info.status: info for info in FRAMEWORK_ERRORS}
ERRORS_BY_LOCATION: dict[object, type[AlexNetError]] = {"header": InvalidHeaderError, "body": InvalidBodyError}


def install(app: FastAPI) -> None:
    """Handle every exception of the application."""
    app.add_exception_handler(AlexNetError, respond_to_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(Exception, _handle_unexpected)


def respond_bad_request(request: Request, message: str) -> Response:
    """The response to a request that can't be understood."""
    return _respond(request, BAD_REQUEST, message)


def _respond(request: Request, info: ErrorInfo, message: str, headers: Mapping[str, str] | None = None) -> Response:
    request.scope["error_code"] = info.code
    detail = _error_detail(request, info.code, message)
    if route_path(request.scope).startswith("/v2"):  # the Open Inference Protocol has its own error shape
        return JSONResponse({"error": detail.message}, info.status, headers)
    return JSONResponse(ErrorResponse(error=detail).model_dump(), info.status, headers)


def respond_to_error(request: Request, error: Exception) -> Response:
    """The response to an AlexNetError."""
    info = error_info(type(error))
    if info == INTERNAL_ERROR:
        return _handle_unexpected(request, error)
    _log_cause(request, error)
    return _respond(request, info, str(error), _error_headers(info, error))


def image_error(request: Request, error: AlexNetError) -> ErrorResponse:
    """The entry for a failed image among several in a request."""
    _log_cause(request, error)
    return ErrorResponse(error=_error_detail(request, error_info(type(error)).code, str(error)))


def _error_detail(request: Request, code: str, message: str) -> ErrorDetail:
    """The error with the id of its request."""
    text = message.encode(errors="backslashreplace").decode()  # JSON may contain lone surrogates, UTF-8 can't
    return ErrorDetail(code=code, message=text, request_id=request.scope.get("request_id", ""))


def _log_cause(request: Request, error: Exception) -> None:
    """Log the cause of a server error, such as a network that fails: the response doesn't reveal it.

    A full disk is no fault of the program: it gets one line, since the log may be on the same disk.
    """
    if isinstance(error, StorageFullError):
        logger.error("request %s failed: %s", request.scope.get("request_id"), error)
    elif error_info(type(error)).status >= 500 and error.__cause__ is not None:
        logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)


def _error_headers(info: ErrorInfo, error: Exception) -> dict[str, str]:
    if info.status in (429, 503):
        seconds = error.retry_after if isinstance(error, OverloadedError | RateLimitedError) else 1.0
        return {"Retry-After": f"{max(1, math.ceil(seconds))}"}
    if info.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Accept-Encoding": ACCEPTED_ENCODINGS} if isinstance(error, UnsupportedEncodingError) else {}


def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    place, message = problem["loc"], problem["msg"]
    kind = ERRORS_BY_LOCATION.get(place[0], InvalidRequestError)
    if problem["type"] == "missing" and place == ("body",):
        kind, message = MissingBodyError, "the request has no body: send JSON, with Content-Type: application/json"
    elif problem["type"] == "json_invalid":
        return _respond(request, error_info(kind), f"invalid JSON: {problem['ctx']['error']} at character {place[-1]}")
    elif problem["type"] == "extra_forbidden":
        return respond_to_error(request, unknown_name_error("JSON field", str(place[-1]), _body_fields(request)))
    elif place[0] == "body" and not is_json(request):
        kind, message = InvalidHeaderError, "send JSON, with the header Content-Type: application/json"
    return _respond(request, error_info(kind), f"{' '.join(map(str, place))}: {message}")


def _body_fields(request: Request) -> list[str]:
    """Names of the JSON fields that the request's route takes."""
    fields = request.scope["route"].dependant.body_params
    return [name for field in fields for name in getattr(field.field_info.annotation, "model_fields", ())]


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, AlexNetError):  # raised while the framework read a body
        return respond_to_error(request, error.__cause__)
    info = FRAMEWORK_ERRORS_BY_STATUS.get(error.status_code, ErrorInfo(error.status_code, "http_error", ""))
    if info == NOT_FOUND and wants_page(request):
        request.scope["error_code"] = info.code
        return show_not_found(request)
    headers, message = dict(error.headers or {}), str(error.detail)
    if info == NOT_FOUND:
        headers |= VARY_BY_ACCEPT
        message = "no such path: /docs lists all paths; /ready says whether the server is ready"
    if info == METHOD_NOT_ALLOWED:  # an address has a route per method; the framework's header names only the first's
        path = getattr(request.scope.get("route"), "path", "")
        methods = request.app.state.methods.get(path)
        headers["Allow"] = ", ".join(sorted(methods)) if methods else headers.get("Allow", "")
        message = f"this path doesn't support {request.method}: use {headers['Allow']}"
    return _respond(request, info, message, headers)


def _handle_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)  # the client disconnected while it was sending: nobody reads it


def _handle_unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    return _respond(request, INTERNAL_ERROR, "internal error: look up this request id in the server's log")
