"""Requests, and the connection that sends them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx2

from alexnet_client.exceptions import InvalidInputError, ServerUnreachableError
from alexnet_client.images import MAX_BATCH_BYTES, MAX_BATCH_IMAGES
from alexnet_client.responses import parse_response
from alexnet_client.retries import NEVER_SENT_ERRORS, RETRY_ERRORS, RETRY_STATUSES, Retries

Outcome = httpx2.Response | httpx2.RequestError
"""The outcome of an attempt: the response, or why there is none."""


@dataclass(frozen=True)
class Request:
    """A request."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[tuple[str, tuple[str, bytes]]] = ()
    form: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments for an httpx2 request. Raises InvalidInputError."""
        try:
            json.dumps([dict(self.query), dict(self.form), self.body], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"text must be valid UTF-8, but it has {error.object[error.start]!a}") from None
        options: dict[str, Any] = {"params": {k: v for k, v in self.query.items() if v is not None}}
        if self.files:
            options |= {"files": list(self.files), "data": dict(self.form)}
        if self.body is not None:
            options["json"] = self.body
        return options


class Attempt(NamedTuple):
    """A request to be sent once, after a `pause` in seconds. `options`: keyword arguments for httpx2."""

    pause: float
    method: str
    path: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Connection:
    """Where and how requests are sent: see `Client`. Raises InvalidInputError."""

    address: str
    key: str | None
    timeout: float
    retries: Retries
    max_batch_images: int = MAX_BATCH_IMAGES
    max_batch_bytes: int = MAX_BATCH_BYTES

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise InvalidInputError(f"the address must begin with http:// or https://: {self.address}")
        try:
            url = httpx2.URL(self.address)
            url.host.encode("idna")  # as the resolver does
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise InvalidInputError(f"invalid address {self.address}: {error}") from None
        if url.query or url.fragment:
            raise InvalidInputError(f"the address can't have a query (?) or a fragment (#): {self.address}")
        if self.key and url.userinfo:
            raise InvalidInputError("give either a key, or a user and password in the address, not both")
        is_number = isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool)
        if not (is_number and 0 < self.timeout < math.inf):
            raise InvalidInputError(f"the timeout must be a number of seconds above 0, not {self.timeout!r}")
        if self.key and not (isinstance(self.key, str) and re.fullmatch("[!-~]+", self.key)):
            raise InvalidInputError("the key must be printable ASCII without spaces; is there a line break at its end?")
        if self.retries.attempts < 1:
            raise InvalidInputError("Retries.attempts must be at least 1")
        if not (0 <= self.retries.initial_backoff < math.inf and 0 <= self.retries.max_backoff < math.inf):
            raise InvalidInputError("Retries.initial_backoff and max_backoff must be seconds, 0 or more")
        if min(self.max_batch_images, self.max_batch_bytes) < 1:
            raise InvalidInputError("max_batch_images and max_batch_bytes must be at least 1")

    def options(self) -> dict[str, Any]:
        """Keyword arguments for an httpx2 client."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": self.address, "headers": headers, "timeout": self.timeout}

    def send(self, request: Request) -> Generator[Attempt, Outcome, Any]:
        """Yields attempts, receives the outcome of each, and returns the JSON of the response.

        Raises AlexNetServerError, ServerUnreachableError, InvalidInputError.
        """
        options, pause, num_attempts, response_lost = request.options(), 0.0, 0, False
        while True:
            outcome = yield Attempt(pause, request.method, request.path, options)
            num_attempts += 1
            last, response = num_attempts == self.retries.attempts, None
            if isinstance(outcome, httpx2.Response):
                response = outcome
                if last or response.status_code not in RETRY_STATUSES:
                    return parse_response(response, ignore_missing=request.method == "DELETE" and response_lost)
            elif last or not isinstance(outcome, RETRY_ERRORS):
                raise self.unreachable(outcome)
            else:
                response_lost |= not isinstance(outcome, NEVER_SENT_ERRORS)
            pause = self.retries.pause(num_attempts - 1, response)

    def request_too_long_error(self, error: httpx2.InvalidURL) -> InvalidInputError:
        """The error for a request that can't be sent because its parameters are too long for a URL."""
        return InvalidInputError(f"the parameters of the request are too long: {error}")

    def unreachable(self, error: httpx2.RequestError) -> ServerUnreachableError:
        """The error for a call whose last attempt failed."""
        address = str(httpx2.URL(self.address).copy_with(userinfo=b""))  # without a password
        if isinstance(error, httpx2.TimeoutException):
            return ServerUnreachableError(f"{address} didn't answer within {self.timeout:g} seconds")
        if isinstance(error, httpx2.DecodingError):
            return ServerUnreachableError(f"the response from {address} is damaged: {error}")
        if isinstance(error, httpx2.RemoteProtocolError):
            return ServerUnreachableError(f"the response from {address} was cut off, or isn't HTTP: {error}")
        reason = str(error) or type(error).__name__
        return ServerUnreachableError(f"can't reach {address} ({reason}): is `alexnet serve` running there?")
