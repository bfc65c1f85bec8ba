"""docs/routes.md has a row for every route of the program: its scope, its statuses, and what limits it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from server.app import add_routes
from server.dependencies import (
    admit,
    get_api_key,
    receive_body,
    receive_optional_upload,
    require_admin,
    require_read,
    require_write,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "routes.md"
SCOPES = {get_api_key: "read", require_read: "read", require_write: "write", require_admin: "admin"}
"""A route's scope is the last of these that it depends on; /metrics checks its key itself."""
LIMITS = {admit: "slot", receive_body: "body", receive_optional_upload: "body"}


def routes() -> Iterator[RouteContext]:
    app = FastAPI(openapi_url=None)
    add_routes(app)
    return iter_route_contexts(app.routes)


def calls(dependant: Dependant) -> Iterator[Any]:
    """Everything that a route depends on, directly or not."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from calls(dependency)


def row(route: RouteContext, method: str) -> str:
    """The row of a route in the table."""
    called = set(calls(route.dependant))
    scope = [name for call, name in SCOPES.items() if call in called][-1:] or ["none"]
    limits = [name for call, name in LIMITS.items() if call in called] + ["JSON"] * bool(route.dependant.body_params)
    statuses = sorted({route.status_code or 200, *map(int, route.responses)})
    return (
        f"| {method} | `{route.path}` | {scope[0]} | {', '.join(map(str, statuses))} | {', '.join(limits) or 'none'} |"
    )


def test_the_table_is_the_program() -> None:
    expected = [row(route, method) for route in routes() if route.include_in_schema for method in route.methods or ()]
    lines = DOCUMENT.read_text().splitlines()
    documented = [line for line in lines if line.startswith(("| GET ", "| POST ", "| PATCH ", "| DELETE "))]
    assert sorted(documented) == sorted(expected)


def test_other_names_of_a_route_have_its_row() -> None:
    """The inference protocol's addresses with a version, and addresses with a slash at the end."""
    listed = {(route.path, *(route.methods or ())) for route in routes() if route.include_in_schema}
    for route in routes():
        path = (route.path or "").replace("/versions/{version}", "").removesuffix("/")
        assert (path, *(route.methods or ())) in listed


def test_no_route_needs_a_thread_to_begin() -> None:
    """A plain function would wait for the framework's threads, all of which slow requests may hold: even /live."""
    for route in routes():
        for call in (route.endpoint, *calls(route.dependant)):
            function = call if inspect.isfunction(call) else type(call).__call__
            assert inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function), (route.path, call)
