"""`responses=` of routes, for the OpenAPI document: those of errors, from the table of exceptions, and files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

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
from server.responses.schemas import ErrorResponse

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
