"""Start of the HTTP server: settings from flags, environment and file, the address, uvicorn."""

from __future__ import annotations

import shlex
import socket
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from model.shell_command import alexnet_command
from server.access_log import configure_logging
from server.app import create_app
from server.exceptions import BindError, SettingsFileError
from server.http_protocol import MAX_HEADER_BYTES, TimeoutH11Protocol
from server.malloc import return_memory_to_os
from server.service import Service
from server.settings import Settings
from server.shutdown import DrainingServer


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Settings from flags, else the environment, else a TOML file.

    Raises SettingsFileError, or pydantic's ValidationError for a value that is out of range.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text())
        except (OSError, ValueError) as error:
            raise SettingsFileError(f"cannot read the settings file {config}: {error}") from error
        if unknown := sorted(set(values) - set(Settings.model_fields)):
            raise SettingsFileError(
                f"unknown settings in {config}: {', '.join(unknown)}; known are {', '.join(Settings.model_fields)}"
            )
    environment = Settings()
    values |= {name: getattr(environment, name) for name in environment.model_fields_set}
    return Settings(**(values | dict(flags)))


def serve(settings: Settings, log: Callable[[str], None]) -> None:
    """Serve until a signal. Raises AlexNetError if the artifact or the index can't be served, or the port is in use."""
    return_memory_to_os()
    check_address(settings.host, settings.port)
    service = Service(settings)
    current = service.current
    manifest = current.artifact.manifest
    log(
        f"serving {manifest.name} version {manifest.version} on {current.model.device}"
        + (f" with an index of {len(current.index):,} images" if current.index else "")
        + f" at http://{settings.host}:{settings.port}/"
    )
    if current.index is None:
        command = shlex.join([alexnet_command(), "index", "add", "--artifact", str(current.artifact.path), "--data"])
        log(f"no index: /similar returns 404 until you build one: {command} FOLDER")
    configure_logging(settings.log_format)
    config = uvicorn.Config(
        create_app(service), host=settings.host, port=settings.port, http=TimeoutH11Protocol,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES, timeout_keep_alive=65, log_config=None, access_log=False,
    )  # fmt: skip
    DrainingServer(config, service).run()


def check_address(host: str, port: int) -> None:
    """Raise BindError, before anything slow is done, if the server can't listen on this address."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise BindError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --port") from error
