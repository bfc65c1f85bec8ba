"""JSON bodies, parsed within limits, since nothing else runs while the parser works."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from model.exceptions import InvalidRequestError
from server.exceptions import InvalidBodyError

MAX_NAMES = 10_000
"""Maximum member names. A request needs a few; each costs as much as ten numbers."""


def parse_json(text: bytes, max_values: int) -> dict[str, Any]:
    """The JSON object of a body. Values are counted by their separators, before any becomes a Python object.

    Raises InvalidBodyError if it isn't an object, or has more than `max_values` values or MAX_NAMES names;
    InvalidRequestError for a name that occurs twice.
    """
    if text.count(b":") > MAX_NAMES:
        raise InvalidBodyError(f"the JSON has more than {MAX_NAMES:,} names")
    if sum(text.count(mark) for mark in b",[{") > max_values:
        raise InvalidBodyError(f"more than {max_values:,} JSON values: send images as files, tensors as binary data")
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidBodyError("the body is not a JSON object")
    return document


class UniqueNamesRoute(APIRoute):
    """A route whose JSON the framework parses. It refuses a repeated name; otherwise, the last value would count.

    Raises InvalidRequestError for a repeated name, InvalidBodyError for JSON that Python can't parse.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_unique(request: Request) -> Response:
            return await handle(_UniqueNamesRequest(request.scope, request.receive))

        return handle_unique


class _UniqueNamesRequest(Request):
    async def json(self) -> Any:
        try:
            return json.loads(await self.body(), object_pairs_hook=_unique)
        except UnicodeDecodeError as error:
            raise InvalidBodyError("the body is not JSON: it is not UTF-8") from error
        except RecursionError as error:
            raise InvalidBodyError("the JSON is nested too deeply") from error
        except json.JSONDecodeError:
            raise  # the framework reports where
        except ValueError as error:  # an integer of more digits than Python reads
            raise InvalidBodyError("the body has a number with too many digits") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidRequestError(f"JSON field {name[:80]!r} is repeated: send it once")
        members[name] = value
    return members
