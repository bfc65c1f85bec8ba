"""Error responses: the JSON of an error, and the `responses=` of the OpenAPI document, from the table of exceptions."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from model.exceptions import (
    AlexNetError,
    ImageTooLargeError,
    IndexLockedError,
    IndexUnavailableError,
    InvalidImageError,
    InvalidRequestError,
    ReadOnlyIndexError,
    StorageFullError,
    UnknownImageError,
    UnsupportedImageError,
)
from server.exceptions import (
    BodyTooLargeError,
    CrossOriginError,
    DeadlineExceededError,
    ForbiddenError,
    HostNotAllowedError,
    InferenceError,
    InvalidBodyError,
    InvalidHeaderError,
    MissingBodyError,
    NoIndexError,
    OverloadedError,
    RateLimitedError,
    RequestTimeoutError,
    UnauthorizedError,
    UnsupportedEncodingError,
    error_info,
)
from server.responses.schemas import ErrorDetail, ErrorResponse

logger = logging.getLogger(__name__)

Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses=`."""


def responses_for(*errors: type[AlexNetError], schema: type[BaseModel] = ErrorResponse) -> Responses:
    """The OpenAPI responses for exceptions; exceptions with the same status share an entry."""
    descriptions: dict[int, list[str]] = {}
    for info in map(error_info, errors):
        descriptions.setdefault(info.status, []).append(f"`{info.code}`: {info.description}")
    return {
        status: {"model": schema, "description": "\n\n".join(texts)} for status, texts in sorted(descriptions.items())
    }


AUTH_ERRORS = (UnauthorizedError, ForbiddenError, CrossOriginError, HostNotAllowedError)
INDEX_RESPONSES = responses_for(UnknownImageError, NoIndexError, ReadOnlyIndexError, IndexUnavailableError)
ADMITTED_ERRORS = (
    InvalidRequestError,
    InvalidHeaderError,
    RateLimitedError,
    OverloadedError,
    DeadlineExceededError,
)
"""Errors of every request that counts as in flight."""
ADMITTED_RESPONSES = responses_for(*ADMITTED_ERRORS)
DECODING_ERRORS = (ImageTooLargeError, UnsupportedImageError, InvalidImageError)
DECODING_RESPONSES = responses_for(*DECODING_ERRORS)
UPLOAD_ERRORS = (
    RequestTimeoutError,
    BodyTooLargeError,
    *DECODING_ERRORS,
    UnsupportedEncodingError,
    InvalidBodyError,
    MissingBodyError,
    InferenceError,
    *ADMITTED_ERRORS,
)
UPLOAD_RESPONSES = responses_for(*UPLOAD_ERRORS)


def merge_responses(*parts: Responses) -> Responses:
    """Several `responses=` as one; if two describe the same status, both descriptions are kept."""
    merged: Responses = {}
    for part in parts:
        for status, entry in part.items():
            descriptions = [merged[status]["description"]] if status in merged else []
            texts = "\n\n".join([*descriptions, entry["description"]]).split("\n\n")
            merged[status] = entry | {"description": "\n\n".join(dict.fromkeys(texts))}
    return merged


def file_response(media_type: str) -> Responses:
    """The OpenAPI response of a route that returns a file."""
    return {200: {"description": "The file.", "content": {media_type: {}}}}


WRITE_RESPONSES = merge_responses(
    INDEX_RESPONSES, ADMITTED_RESPONSES, responses_for(IndexLockedError, StorageFullError)
)
"""Responses to every change of the index."""


def error_detail(request: Request, code: str, message: str) -> ErrorDetail:
    """The error with the id of its request."""
    text = message.encode(errors="backslashreplace").decode()  # JSON may contain lone surrogates, UTF-8 can't
    return ErrorDetail(code=code, message=text, request_id=request.scope.get("request_id", ""))


def log_cause(request: Request, error: Exception) -> None:
    """Log the cause of a server error, such as a network that fails: the response doesn't reveal it.

    A full disk is no fault of the program: it gets one line, since the log may be on the same disk.
    """
    if isinstance(error, StorageFullError):
        logger.error("request %s failed: %s", request.scope.get("request_id"), error)
    elif error_info(type(error)).status >= 500 and error.__cause__ is not None:
        logger.error("request %s failed", request.scope.get("request_id"), exc_info=error)


def image_error(request: Request, error: AlexNetError) -> ErrorResponse:
    """The entry for a failed image among several in a request."""
    log_cause(request, error)
    return ErrorResponse(error=error_detail(request, error_info(type(error)).code, str(error)))
