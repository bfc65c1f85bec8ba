"""What a call can raise."""

from __future__ import annotations


class AlexNetClientError(Exception):
    """Base of all errors of this package."""


class InvalidInputError(AlexNetClientError):
    """An image or the address can't be used: nothing was sent."""


class ServerUnreachableError(AlexNetClientError):
    """Nobody answers at the address, or not in time."""


class AlexNetServerError(AlexNetClientError):
    """An error response: `status`, `code` (the server's documents list all), `message` and `request_id`."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{message} ({status} {code}, request {request_id or 'unknown'})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
