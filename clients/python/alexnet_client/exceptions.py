"""The exceptions that a call can raise."""

from __future__ import annotations

from typing import Any


class AlexNetClientError(Exception):
    """Base of all errors of this package.

    `partial_results`: for a call with several images, the results of the batches before the one that failed.
    """

    partial_results: list[Any]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.partial_results = []


class InvalidInputError(AlexNetClientError):
    """An image, the address or an argument can't be used; the request wasn't sent."""


class ServerUnreachableError(AlexNetClientError):
    """No server answers at the address, or not in time, or the response was damaged in transit."""


class AlexNetServerError(AlexNetClientError):
    """An error response: `status`, `code` (the server's documentation lists all), `message` and `request_id`."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{message} ({status} {code}, request {request_id or 'unknown'})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
