"""`alexnet serve`: the HTTP server, with a flag for each of its settings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from alexnet.cli.browser import OpenPageOption, open_in_browser
from alexnet.cli.signatures import keyword, with_parameters
from model.shell_command import option_name
from server.settings import Settings

SECRET = ("keys",)
"""Settings that are neither flags, since other users of the machine see command lines, nor shown in errors, since logs
keep them."""
SECTIONS = {
    "What is served": ("home", "artifact", "index", "read_only", "sync_folder", "precision"),
    "Address": ("host", "port", "grpc_port", "uds", "allowed_hosts", "root_path", "trusted_proxies"),
    "Machine": ("device", "search_device", "threads"),
    "Access": ("keys_file", "public_metrics", "cors_origins"),
    "Log": ("log_level", "log_format"),
    "Limits": (
        "request_timeout", "drain_seconds", "shutdown_timeout", "requests_per_second", "max_concurrent_requests",
        "max_inflight_bytes", "max_queued_crops", "max_body_bytes", "max_images_per_request", "max_pixels",
    ),
}  # fmt: skip
"""Sections of the help, with the settings in each."""
METAVARS = {bool: None, int: "N", float: "X", Path: "FOLDER", str: "LIST"}
"""The placeholder for a value in the help, by its type."""
OWN_METAVARS = {"host": "HOST", "index": "INDEX", "keys_file": "FILE", "root_path": "PREFIX", "uds": "FILE"}


def run_server(config: Path | None, open_page: bool, **flags: Any) -> None:
    """Serve a network and its index over HTTP.

    Serves POST /classify, POST /similar and a web page. Each flag is also an environment variable (ALEXNET_ and its
    name in capitals) and a name in the --config file (with underscores). Set API keys with ALEXNET_KEYS or --keys-file.
    """
    from server import run

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = run.load_settings(config, given)
    except ValidationError as error:
        raise _explain(error, given) from None
    if open_page and settings.uds:
        raise typer.BadParameter("no browser can open a Unix socket: leave out --open or --uds", param_hint="--open")
    run.serve(settings, typer.echo, open_in_browser if open_page else None)


def _explain(error: ValidationError, flags: Mapping[str, Any]) -> typer.BadParameter:
    """The error for the first invalid setting, under the name by which it was given."""
    problem = error.errors()[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    variable = f"ALEXNET_{name.upper()}"
    source = option_name(name) if name in flags else variable if variable in os.environ else f"the setting {name}"
    reason = problem["msg"].removeprefix("Value error, ")
    shown = "" if name in SECRET else f"{str(problem['input'])[:80]!r}: "
    return typer.BadParameter(f"{shown}{reason[:1].lower()}{reason[1:]}", param_hint=source)


def _parameters() -> list[inspect.Parameter]:
    """A flag for each setting, and those of the command itself."""
    config = typer.Option(envvar="ALEXNET_CONFIG", metavar="FILE", help="TOML file with settings.", show_default=False)
    return [
        keyword("config", Annotated[Path | None, config]),
        keyword("open_page", OpenPageOption, False),
        *_flags(),
    ]


def _flags() -> Iterator[inspect.Parameter]:
    sections = {name: section for section, names in SECTIONS.items() for name in names}
    others = [name for name in Settings.model_fields if name not in (*sections, *SECRET)]
    for name in (*sections, *others):
        field = Settings.model_fields[name]
        annotation: Any = field.annotation
        has_default = field.default not in (None, "", Path()) and field.default is not False
        shown = f"  [default: {field.default}]" if has_default else ""
        option = typer.Option(
            option_name(name) if annotation is not bool else f"{option_name(name)}/--no-{name.replace('_', '-')}",
            help=f"{field.description}{shown}",
            metavar=OWN_METAVARS.get(name, _metavar(annotation)),
            show_default=False,
            rich_help_panel=sections.get(name, "Other settings"),
        )
        yield keyword(name, Annotated[annotation | None, option])


def _metavar(annotation: Any) -> str | None:
    kinds = [kind for kind in getattr(annotation, "__args__", (annotation,)) if kind is not type(None)]
    return METAVARS.get(kinds[0]) if len(kinds) == 1 and isinstance(kinds[0], type) else None


serve = with_parameters(run_server, _parameters())
