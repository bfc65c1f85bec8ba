"""One table from exception to HTTP status, and one JSON shape for every error."""

from __future__ import annotations

import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from model.exceptions import (
    AlexNetError,
    IndexLockedError,
    ImageTooLargeError,
    InvalidImageError,
    InvalidRequestError,
    ReadOnlyIndexError,
    StorageFullError,
    UnknownImageError,
    UnknownModelError,
    UnsupportedImageError,
)
from server.access_log import log
from server.api_keys import ForbiddenError, UnauthorizedError
from server.loaded_model import NotServableError
from server.origins import ForeignPageError
from server.schemas import ErrorAnswer, ErrorDetail
from server.uploads import BodyTooLargeError, InvalidBodyError, SlowBodyError
from server.workers.inference import BrokenInferenceError, DeadlineError, OverloadedError

STATUS: dict[type[AlexNetError], tuple[int, str]] = {
    NotServableError: (409, "not_servable"),
    UnauthorizedError: (401, "unauthorized"),
    ForbiddenError: (403, "forbidden"),
    ForeignPageError: (403, "foreign_page"),
    UnsupportedImageError: (415, "unsupported_image"),
    ImageTooLargeError: (413, "image_too_large"),
    InvalidImageError: (422, "invalid_image"),
    SlowBodyError: (408, "slow_body"),
    BodyTooLargeError: (413, "body_too_large"),
    InvalidBodyError: (422, "invalid_body"),
    InvalidRequestError: (422, "invalid_request"),
    StorageFullError: (507, "storage_full"),
    IndexLockedError: (503, "busy_index"),
    ReadOnlyIndexError: (409, "read_only_index"),
    UnknownImageError: (404, "unknown_image"),
    UnknownModelError: (404, "unknown_model"),
    OverloadedError: (503, "overloaded"),
    DeadlineError: (504, "deadline"),
    BrokenInferenceError: (500, "inference_failed"),
}


def install(app: FastAPI) -> None:
    """Answer every exception as an ErrorAnswer."""
    app.add_exception_handler(AlexNetError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _answer(request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    detail = _detail(request, code, message)
    request.scope["error_code"] = code
    if request.url.path.startswith("/v2"):  # the protocol's own form
        return JSONResponse({"error": detail.message}, status, headers)
    return JSONResponse(ErrorAnswer(error=detail).model_dump(), status, headers)


def _detail(request: Request, code: str, message: str) -> ErrorDetail:
    text = message.encode(errors="backslashreplace").decode()  # JSON may name what no text can hold
    return ErrorDetail(code=code, message=text, request_id=request.scope.get("request_id", ""))


def _status(error: Exception) -> tuple[int, str]:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_answer(request: Request, error: AlexNetError) -> ErrorAnswer:
    """What is answered for one of several images."""
    return ErrorAnswer(error=_detail(request, _status(error)[1], str(error)))


def _ours(request: Request, error: Exception) -> Response:
    if not any(kind in STATUS for kind in type(error).__mro__):
        return _unexpected(request, error)
    status, code = _status(error)
    if status >= 500 and error.__cause__ is not None:
        log.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    headers = {"Retry-After": f"{math.ceil(getattr(error, 'retry_after', 1.0))}"} if status == 503 else None
    if isinstance(error, UnauthorizedError):
        headers = {"WWW-Authenticate": "Bearer"}
    return _answer(request, status, code, str(error), headers)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    where = " ".join(str(part) for part in problem["loc"])
    return _answer(request, 422, "invalid_request", f"{where}: {problem['msg']}")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, AlexNetError):  # of a body that the framework was reading
        return _ours(request, error.__cause__)
    if error.status_code == 400:  # what the framework says of a body that isn't even text
        return _answer(request, *STATUS[InvalidBodyError], f"expected a body of JSON or a form, found: {error.detail}")
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # an address has a route for each method; the framework names those of the first
        document = request.app.openapi()["paths"].get(getattr(request.scope.get("route"), "path", ""), {})
        headers["Allow"] = ", ".join(sorted(method.upper() for method in document)) or headers.get("Allow", "")
    return _answer(request, error.status_code, code, str(error.detail), headers)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it: the client hung up while it was sending


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    return _answer(request, 500, "internal_error", "the server failed at this request; its log has the reason")
