"""Commands whose options aren't parameters of their function, but come from somewhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def with_parameters(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Give a function these parameters, for typer to read; it is called with them as keywords."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def keyword(name: str, annotation: Any, default: object = None) -> inspect.Parameter:
    """A keyword parameter."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
