"""`alexnet serve`: the HTTP server, with a flag for each of its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from server.settings import Settings

SECRET = ("keys",)
"""Not a flag: other users of the machine see command lines."""


def serve_command() -> Callable[..., None]:
    """The command, with a flag for each field of Settings."""

    def serve(config: Path | None, **flags: Any) -> None:
        """Serve an artifact and its index over HTTP: POST /classify, POST /similar, a web page.

        Each flag is also an environment variable (ALEXNET_ and its name in capitals) and a name in the --config file
        (with underscores). Set API keys with ALEXNET_KEYS or --keys-file.
        """
        from server import run

        given = {name: value for name, value in flags.items() if value is not None}
        run.serve(run.load_settings(config, given), typer.echo)

    option = typer.Option(envvar="ALEXNET_CONFIG", help="TOML file with settings.")
    parameters = [_parameter("config", Annotated[Path | None, option])]
    for name, field in Settings.model_fields.items():
        if name not in SECRET:
            default = "" if field.default is None else f" Default: {field.default}."
            option = typer.Option(f"--{name.replace('_', '-')}", help=f"{field.description or name}{default}")
            annotation: Any = field.annotation
            parameters.append(_parameter(name, Annotated[annotation | None, option]))
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return serve


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
