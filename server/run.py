"""Start the HTTP server: read settings from flags, environment and file, bind the address, run uvicorn."""

from __future__ import annotations

import difflib
import logging
import os
import re
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from model.exceptions import InvalidRequestError
from model.images.crops import TEN_CROP
from model.malloc import map_large_blocks
from model.shell_command import Command
from server.app import check_root_path, create_app
from server.connections.http_protocol import MAX_HEADER_BYTES, TimeoutH11Protocol, TimeoutH11ProtocolWithGrpc
from server.connections.listening import bind, bind_unix, display_url, is_local, remove_unix_socket
from server.exceptions import SettingsFileError
from server.limits.fairness import limit_for_share
from server.observability.log_output import configure_logging
from server.open_inference.grpc.extra import check_grpc
from server.parameters import unknown_name_error
from server.process.server import DrainingServer, exit_immediately
from server.process.signals import Signals
from server.service import Service
from server.settings import Settings

logger = logging.getLogger(__name__)

MIN_NAME_SIMILARITY = 0.75
"""A variable at least this similar to a setting's name counts as misspelled: `PROT`, `KEY`, `ALLOWED_HOST`.

Others are ignored, because Kubernetes sets `ALEXNET_SERVER_PORT` for a service `alexnet-server`.
"""
MIN_KEY_NAME_SIMILARITY = 0.3
"""The same for names of keys, such as `API_KEYS`: if one were ignored, everybody could use the server."""


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Settings from flags, else the environment, else a TOML file.

    Raises SettingsFileError, also for a misspelled environment variable; or pydantic's ValidationError for an invalid
    value.
    """
    _check_variables()
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text("utf-8-sig"))  # editors on Windows write a byte-order mark
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsFileError(f"cannot read the settings file {config.absolute()}: {reason}") from error
        if unknown := sorted(set(values) - set(Settings.model_fields)):
            raise SettingsFileError(
                f"settings file {config}: {unknown_name_error('setting', unknown[0], Settings.model_fields)}"
            )
    environment = Settings()
    values |= {name: getattr(environment, name) for name in environment.model_fields_set}
    return Settings(**(values | dict(flags)))


def _check_variables() -> None:
    """Raise SettingsFileError for a misspelled variable: if `ALEXNET_KEY` were ignored, everybody could use the
    server."""
    known = {name.upper() for name in (*Settings.model_fields, "config")}
    given = {name.upper().removeprefix("ALEXNET_") for name in os.environ if name.upper().startswith("ALEXNET_")}
    for name in sorted(given - known):
        cutoff = MIN_KEY_NAME_SIMILARITY if re.search("KEYS?(_|$)", name) else MIN_NAME_SIMILARITY
        if nearest := difflib.get_close_matches(name, sorted(known), 1, cutoff):
            raise SettingsFileError(
                f"the environment variable ALEXNET_{name} isn't a setting: did you mean ALEXNET_{nearest[0]}? Rename "
                "or unset it"
            )


def serve(settings: Settings, log: Callable[[str], None], show_page: Callable[[str], None] | None = None) -> None:
    """Serve until a signal. Raises AlexNetError if the artifact or the index can't be served, or the port is in use.

    `show_page`: called in a thread with the address of the web page, once the server answers.
    """
    signals = Signals()
    signals.install()
    map_large_blocks()
    check_grpc(settings)
    check_limits(settings)
    check_root_path(settings.root_path)
    listeners = [bind_unix(settings.uds)] if settings.uds else bind(settings.host, settings.port)
    configure_logging(settings.log_format, settings.log_level)
    if settings.log_format == "json":
        log = logger.info  # every line of such a log is JSON
    log("loading the network and the index")
    service = Service(settings)
    url = display_url(listeners[0], settings.root_path)
    for line in describe(service, url):
        log(line)
    if not service.keys and not all(map(is_local, listeners)):
        log(
            "warning: other machines may reach this server, and it needs no API key: set ALEXNET_KEYS=write:KEY, or "
            "listen on 127.0.0.1"
        )
    protocol = TimeoutH11Protocol if settings.grpc_port is None else TimeoutH11ProtocolWithGrpc
    config = uvicorn.Config(
        create_app(service), http=protocol, proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES, timeout_keep_alive=65, log_config=None, access_log=False,
    )  # fmt: skip
    server = DrainingServer(config, service, signals)
    if show_page is not None:
        threading.Thread(target=_call_when_started, args=(server, show_page, url.split()[0]), daemon=True).start()
    server.run(listeners)
    remove_unix_socket(settings.uds)
    logger.info("stopped")
    if not service.closed:
        exit_immediately()


def check_limits(settings: Settings) -> None:
    """Raise InvalidRequestError if one client's share of the queue is smaller than a request with the maximum number
    of images: even an idle server would refuse such a request."""
    images = settings.max_images_per_request
    needed = limit_for_share(len(TEN_CROP), images)
    if settings.max_queued_crops < needed:
        raise InvalidRequestError(
            f"--max-images-per-request {images:,} needs --max-queued-crops of at least {needed:,}, but it is "
            f"{settings.max_queued_crops:,}: raise it, or allow fewer images"
        )


def _call_when_started(server: uvicorn.Server, show_page: Callable[[str], None], url: str) -> None:
    while not server.started:
        time.sleep(0.05)
    show_page(url)


def describe(service: Service, url: str) -> list[str]:
    """Lines for the log: what is served, where, and what is missing."""
    current = service.current
    manifest = current.artifact.manifest
    images = f" with an index of {len(current.index):,} images" if current.index else ""
    opened = "" if service.settings.uds else "open it in a browser; "  # browsers can't open Unix sockets
    lines = [
        f"serving {manifest.name} version {manifest.version} on {current.model.device}{images} at {url} - {opened}"
        "Ctrl-C stops the server"
    ]
    folder = service.settings.sync_folder
    if folder is not None and not folder.is_dir():
        lines.append(f"warning: there is no folder at {folder} (--sync-folder): POST /sync fails until there is one")
    if current.index is None:
        command = Command("index", "add", "--artifact", current.artifact.path, "--data")
        lines.append(f"no index: /similar returns 404 until you build one: {command} FOLDER")
    return lines
