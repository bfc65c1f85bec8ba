"""`alexnet serve`: every setting is a flag, an environment variable and a line of a file; the earlier goes first."""

from __future__ import annotations

import inspect
import shlex
import socket
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from model.exceptions import AddressError, AlexNetError
from model.shell_command import alexnet
from server.settings import Settings

SECRET = ("keys",)
"""Not a flag: other users of the machine see command lines."""


class SettingsFileError(AlexNetError):
    """The file of settings can't be read, or has a line that is none."""


def settings(config: Path | None, given: Mapping[str, Any]) -> Settings:
    """From flags, then the environment, then the file. Raises SettingsFileError; pydantic's ValidationError."""
    lines: dict[str, Any] = {}
    if config is not None:
        try:
            lines = tomllib.loads(config.read_text())
        except (OSError, ValueError) as error:
            raise SettingsFileError(f"expected a TOML file of settings at {config}, found: {error}") from error
        unknown = sorted(set(lines) - set(Settings.model_fields))
        if unknown:
            raise SettingsFileError(
                f"expected settings of {', '.join(Settings.model_fields)} in {config}, found {', '.join(unknown)}"
            )
    environment = Settings()
    lines |= {name: getattr(environment, name) for name in environment.model_fields_set}
    return Settings(**(lines | dict(given)))


def serve_command() -> Callable[..., None]:
    """The command, with a flag for each field of Settings."""

    def serve(config: Path | None, **given: Any) -> None:
        """Serve POST /classify, POST /similar, the Open Inference Protocol under /v2, and the page, over HTTP.

        Each flag is also an environment variable, ALEXNET_ and its name in capitals, and a line of the --config file,
        its name with underscores. Keys are asked for with ALEXNET_KEYS or --keys-file.
        """
        run(settings(config, {name: value for name, value in given.items() if value is not None}))

    parameters = [
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option(envvar="ALEXNET_CONFIG", help="A TOML file with settings.")],
        )
    ]
    for name, field in Settings.model_fields.items():
        if name not in SECRET:
            default = "" if field.default is None else f" Default: {field.default}."
            option = typer.Option(f"--{name.replace('_', '-')}", help=f"{field.description or name}{default}")
            kind = inspect.Parameter.KEYWORD_ONLY
            annotation = Annotated[field.annotation | None, option]  # type: ignore[name-defined]
            parameters.append(inspect.Parameter(name, kind, default=None, annotation=annotation))
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return serve


def run(chosen: Settings) -> None:
    """Serve until a signal. Raises AlexNetError when what is to be served can't be, or the address is taken."""
    import uvicorn

    from server.access_log import configure
    from server.app import create_app
    from server.http_protocol import HEADER_BYTES, Connection
    from server.malloc import give_back_freed
    from server.service import Service
    from server.shutdown import DrainingServer

    give_back_freed()
    require_free(chosen.host, chosen.port)
    service = Service(chosen)
    now = service.now
    manifest = now.artifact.manifest
    typer.echo(
        f"serving {manifest.name} version {manifest.version} on {now.model.device}"
        + (f" with an index of {len(now.index):,} images" if now.index else "")
        + f" at http://{chosen.host}:{chosen.port}/"
    )
    if now.index is None:
        make = shlex.join([alexnet(), "index", "--artifact", str(now.artifact.path), "--data"])
        typer.echo(f"no index of its features: /similar answers 404 until one is made with {make} FOLDER")
    configure(chosen.log_format)
    app = create_app(service)
    config = uvicorn.Config(
        app, host=chosen.host, port=chosen.port, http=Connection, h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=65, log_config=None, access_log=False,
    )  # fmt: skip
    DrainingServer(config, service).run()


def require_free(host: str, port: int) -> None:
    """Raise AddressError, before anything slow is done, if the server couldn't listen there."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise AddressError(
            f"expected to listen on {host}:{port}, found: {error.strerror}; another port can be given with --port"
        ) from error
