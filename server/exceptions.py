"""Exceptions of the server and the one table of HTTP errors: status, code and description of each.

An exception that becomes a response (ServerError) carries `status`, `code` and `description` as class attributes;
`DOMAIN_ERRORS` assigns them to the exceptions of `model` and `index`; `FRAMEWORK_ERRORS` lists the errors that the
framework raises. The OpenAPI document, the table of docs/troubleshooting.md and the clients' tables come from this
module or are tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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


class SettingsFileError(AlexNetError):
    """The settings file is unreadable, or it or the environment contains an unknown name."""


class KeyFileError(AlexNetError):
    """The API keys can't be read, or one is malformed."""


class MissingPackageError(AlexNetError):
    """A setting needs an optional package that isn't installed."""


class BindError(AlexNetError):
    """The server can't listen on its address."""


@dataclass(frozen=True)
class ErrorInfo:
    """How an error is reported: HTTP status, error code, and the sentence that documents it."""

    status: int
    code: str
    description: str


class ServerError(AlexNetError):
    """Base of the exceptions that become a response; a subclass sets all three attributes."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    description: ClassVar[str] = "Internal error; look up the request id in the server's log."


class UnauthorizedError(ServerError):
    """The request has no API key, or an unknown one."""

    status, code = 401, "unauthorized"
    description = "Authentication required: missing or unknown API key."


class ForbiddenError(ServerError):
    """The API key lacks the scope, or the operation needs API keys and the server has none."""

    status, code = 403, "forbidden"
    description = "The API key lacks the required scope, or the server has no keys and the operation needs one."


class CrossOriginError(ServerError):
    """A web page of another origin sent the request."""

    status, code = 403, "cross_origin"
    description = "A web page of another origin sent the request."


class HostNotAllowedError(ServerError):
    """The Host header names a domain that isn't known to be this server's."""

    status, code = 403, "host_not_allowed"
    description = "The Host header is not one of the server's allowed names."


class NoIndexError(ServerError):
    """The server has no index."""

    status, code = 404, "no_index"
    description = "The server has no index."


class UnknownModelError(ServerError):
    """No model of this name and version is served."""

    status, code = 404, "unknown_model"
    description = "No model of this name and version is served."


class NoKernelsError(ServerError):
    """The artifact has no kernels.npy."""

    status, code = 404, "no_kernels"
    description = "The artifact contains no kernels to draw (`kernels.npy`)."


class RequestTimeoutError(ServerError):
    """The request's body didn't arrive in time."""

    status, code = 408, "request_timeout"
    description = "The request body did not arrive in time."


class ReloadError(ServerError):
    """The artifact or index that should be served next is missing, damaged, or doesn't fit; the log says which."""

    status, code = 409, "reload_failed"
    description = "No valid artifact and index could be loaded; the current ones stay in use."


class BodyTooLargeError(ServerError):
    """The request's body is larger than the limit."""

    status, code = 413, "body_too_large"
    description = "The request body is too large."


class UnsupportedEncodingError(ServerError):
    """The request's body is compressed in a way that the server doesn't know."""

    status, code = 415, "unsupported_encoding"
    description = "The server does not support the body's `Content-Encoding`; see `Accept-Encoding`."


class InvalidBodyError(ServerError):
    """The request's body isn't what the endpoint expects."""

    status, code = 422, "invalid_body"
    description = "The request body is not what the route expects: an image, a form, or JSON."


class MissingBodyError(ServerError):
    """The request has no body, or no image in it."""

    status, code = 422, "missing_body"
    description = "The request has no body, or no image in it."


class InvalidHeaderError(ServerError):
    """A header of the request is missing or invalid."""

    status, code = 422, "invalid_header"
    description = "A header is missing or invalid."


class RateLimitedError(ServerError):
    """The client sends more requests per second than allowed. `retry_after`: seconds until the next one is accepted."""

    status, code = 429, "rate_limited"
    description = "The client exceeded its limit of requests per second; see `Retry-After`."

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InferenceError(ServerError):
    """The network failed on this image, or the inference worker has stopped."""

    status, code = 500, "inference_failed"
    description = "The network failed on this image, or the inference worker has stopped."


class UnsupportedOperationError(ServerError):
    """The protocol defines this operation, but this server doesn't support it."""

    status, code = 400, "unsupported_operation"
    description = "The protocol defines this operation, but this server does not support it."


class OverloadedError(ServerError):
    """The server has too much work. `retry_after`: seconds until that work might be done."""

    status, code = 503, "overloaded"
    description = "Overloaded; see `Retry-After`."

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceededError(ServerError):
    """The request's deadline passed before its response was ready."""

    status, code = 504, "deadline_exceeded"
    description = "The deadline set by `X-Request-Timeout`, or the server's own, has passed."


DOMAIN_ERRORS: dict[type[AlexNetError], ErrorInfo] = {
    UnknownImageError: ErrorInfo(404, "unknown_image", "No image has this id or key, or its file is gone or changed."),
    ReadOnlyIndexError: ErrorInfo(409, "read_only_index", "The index is open for reading only."),
    ImageTooLargeError: ErrorInfo(413, "image_too_large", "The image has too many pixels."),
    UnsupportedImageError: ErrorInfo(415, "unsupported_image", "The data is not an image in a supported format."),
    InvalidImageError: ErrorInfo(422, "invalid_image", "The image is damaged."),
    InvalidRequestError: ErrorInfo(422, "invalid_request", "A parameter is unknown, repeated or invalid."),
    IndexLockedError: ErrorInfo(503, "index_locked", "Another process has locked the index; nothing was changed."),
    IndexUnavailableError: ErrorInfo(
        503, "index_unavailable", "The index's database is not responding; see `Retry-After`."
    ),
    StorageFullError: ErrorInfo(507, "storage_full", "The disk is full; nothing was changed."),
}
"""Errors of `model` and `index`, which know nothing of HTTP."""

BAD_REQUEST = ErrorInfo(400, "bad_request", "The request cannot be parsed.")
NOT_FOUND = ErrorInfo(404, "not_found", "No such path.")
METHOD_NOT_ALLOWED = ErrorInfo(405, "method_not_allowed", "The path does not support this method; see `Allow`.")
INTERNAL_ERROR = ErrorInfo(ServerError.status, ServerError.code, ServerError.description)
FRAMEWORK_ERRORS = (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL_ERROR)


def error_info(kind: type[BaseException]) -> ErrorInfo:
    """How an exception of this class is reported; INTERNAL_ERROR if the table doesn't have it."""
    for base in kind.__mro__:
        if base in DOMAIN_ERRORS:
            return DOMAIN_ERRORS[base]
        if issubclass(base, ServerError):
            return ErrorInfo(base.status, base.code, base.description)
    return INTERNAL_ERROR
