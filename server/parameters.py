"""Parameters of queries, forms and JSON: unknown, repeated and misplaced ones are refused, with the nearest known name.

A route declares its parameters once, as a model of its query. If it takes images, the same parameters may instead be
fields of its form or JSON.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Annotated, Any, TypeVar, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from index.entries import MAX_ID, MAX_TEXT_LENGTH, is_storable
from model.datasets.names import compose, is_utf8
from model.exceptions import InvalidRequestError

MAX_NAME_SHOWN = 80
"""Characters of an unknown name that are compared and shown."""

MAX_SELECTED = 300
"""Maximum ids or keys in a request. This many ids, or keys such as UUIDs, fit in the headers and in a PATCH body."""


class Parameters(BaseModel):
    """Base of the models of parameters: each field is a parameter, with its default and its limits."""

    model_config = ConfigDict(frozen=True)


P = TypeVar("P", bound=Parameters)


def check_text(text: str) -> str:
    """A label or key to store. Raises PydanticCustomError for control characters, leading or trailing whitespace,
    or a wrong length."""
    if not is_storable(text):
        message = (
            "it must have 1 to {max_length} characters, no control characters, and no leading or trailing whitespace"
        )
        raise PydanticCustomError("text", message, {"max_length": MAX_TEXT_LENGTH})
    return text


def check_lookup(text: str) -> str:
    """A label to look up. Raises PydanticCustomError for characters that no label has: NUL, and surrogates, which JSON
    can express but UTF-8 can't."""
    if not is_utf8(text):
        raise PydanticCustomError("utf8", "it contains a surrogate, which isn't a character: send valid UTF-8")
    if "\0" in text:
        raise PydanticCustomError("nul", "it contains a NUL character, which no label has: leave it out")
    return text


StoredText = Annotated[str, AfterValidator(check_text)]
StoredLabel = Annotated[str, AfterValidator(compose), AfterValidator(check_text)]
LookupLabel = Annotated[str, AfterValidator(compose), AfterValidator(check_lookup)]
StoredId = Annotated[int, Field(ge=1, le=MAX_ID)]
"""The id of an indexed image."""


class Crops(IntEnum):
    """How many crops of an image are averaged."""

    CENTER_CROP = 1
    TEN_CROP = 10


def unknown_name_error(kind: str, name: str, known: Collection[str]) -> InvalidRequestError:
    """The error for an unknown name. It lists the known names and, if one is similar, suggests the nearest."""
    name, names = name[:MAX_NAME_SHOWN], sorted(known)  # a name may be as long as a body
    words = name.lower().split("_")  # top_k means k
    nearest = difflib.get_close_matches(name.lower(), names, 1) or [word for word in names if word in words]
    hint = f"known names: {', '.join(names)}" if names else "none is accepted here"
    if nearest:
        hint = f"did you mean '{nearest[0]}'? K{hint[1:]}"
    return InvalidRequestError(f"unknown {kind} {name!r}: {hint}")


async def check_query(request: Request) -> None:
    """Dependency of every route: refuse query parameters that the route doesn't know, or that are repeated.

    Raises InvalidRequestError.
    """
    query: bytes = request.scope["query_string"]
    if not query:
        return
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("the query is not UTF-8: encode its parameters in UTF-8") from None
    names = [name for name, _ in request.query_params.multi_items()]
    check_names("query parameter", names, known_parameters(request))


def check_names(kind: str, names: Iterable[str], known: Mapping[str, bool]) -> None:
    """Raise InvalidRequestError for an unknown or a repeated name. `known`: whether each name may be repeated."""
    seen = set[str]()
    for name in names:
        if name not in known:
            raise unknown_name_error(kind, name, known)
        if name in seen and not known[name]:
            raise InvalidRequestError(f"{kind} '{name}' is repeated: send it once")
        seen.add(name)


def known_parameters(request: Request) -> Mapping[str, bool]:
    """The parameters of the request's route, and whether each may be repeated."""
    route = request.scope.get("route")
    return route_parameters(route) if isinstance(route, APIRoute) else {}


def route_parameters(route: APIRoute) -> Mapping[str, bool]:
    """The query parameters of a route by name, and whether each may be repeated."""
    return dict(_iter_parameters(route.dependant))


def _iter_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, info in annotation.model_fields.items():
                yield info.alias or name, _is_list(info.annotation)
        else:
            yield field.alias, _is_list(annotation)
    for dependency in dependant.dependencies:
        yield from _iter_parameters(dependency)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, Sequence) or any(map(_is_list, get_args(annotation)))


def merge_parameters(query: P, sent: Collection[str], fields: Mapping[str, Sequence[str]]) -> P:
    """Merge the parameters of the query and of the body. `sent`: names in the query; `fields`: the body's values.

    Raises InvalidRequestError for a parameter that is in both, RequestValidationError for an invalid value.
    """
    if both := sorted(set(sent) & set(fields)):
        raise InvalidRequestError(f"parameter '{both[0]}' is in the query and in the body: send it once")
    model = type(query)
    own = {name: values for name, values in fields.items() if name in model.model_fields}
    body = {
        name: list(values) if _is_list(model.model_fields[name].annotation) else values[0]
        for name, values in own.items()
    }
    try:
        return model.model_validate(query.model_dump(exclude_unset=True) | body)
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("field", *item["loc"])} for item in error.errors()]) from None
