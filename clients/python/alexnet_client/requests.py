"""Requests, and the connection that they are sent by."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from alexnet_client.exceptions import InvalidInputError, ServerUnreachableError
from alexnet_client.retries import Retries


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
        """What httpx2 is called with. Raises InvalidInputError."""
        try:
            json.dumps([dict(self.query), dict(self.form), self.body], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"text must be UTF-8, and can't have {error.object[error.start]!a}") from None
        options: dict[str, Any] = {"params": {k: v for k, v in self.query.items() if v is not None}}
        if self.files:
            options |= {"files": list(self.files), "data": dict(self.form)}
        if self.body is not None:
            options["json"] = self.body
        return options


@dataclass(frozen=True)
class Connection:
    """Where and how requests are sent. `key`: API key. `timeout`: seconds per attempt. Raises InvalidInputError."""

    address: str
    key: str | None
    timeout: float
    retries: Retries

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise InvalidInputError(f"the address must begin with http:// or https://: {self.address}")
        try:
            httpx2.URL(self.address).host.encode("idna")  # as the resolver does
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise InvalidInputError(f"the address {self.address} can't be one: {error}") from None
        if self.key and not re.fullmatch("[!-~]+", self.key):
            raise InvalidInputError("the key must be printable ASCII without spaces; is there a line break at its end?")
        if self.retries.attempts < 1:
            raise InvalidInputError("Retries.attempts must be at least 1")

    def options(self) -> dict[str, Any]:
        """What a client of httpx2 is made with."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": self.address, "headers": headers, "timeout": self.timeout}

    def unreachable(self, error: httpx2.TransportError) -> ServerUnreachableError:
        """The error of a call whose last attempt failed."""
        if isinstance(error, httpx2.TimeoutException):
            return ServerUnreachableError(f"{self.address} didn't answer within {self.timeout:g} seconds")
        reason = str(error) or type(error).__name__
        return ServerUnreachableError(f"nobody answers at {self.address} ({reason}): is `alexnet serve` running there?")
