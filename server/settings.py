"""Server settings: environment variables with the prefix ALEXNET_, flags of `alexnet serve`, or a TOML file."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.artifacts.artifact import Precision
from model.cpus import MAX_THREADS
from model.images.limits import DEFAULT_LIMITS
from server.addresses import UNIX_SOCKET, normalize_prefix
from server.observability.log_output import LogLevel

HOST_NAME = re.compile(r"\*|(\*\.)?[^.*:/\s]+(\.[^.*:/\s]+)*\.?|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?")
"""A host name, `*.DOMAIN` for the names below a domain, `*` for any name, or an IPv6 address."""
ORIGIN = re.compile(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s*]+")
"""An origin as browsers send it, or `*` for any."""


class Settings(BaseSettings):
    """The server's settings, frozen after start."""

    model_config = SettingsConfigDict(
        env_prefix="ALEXNET_",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be an API key
    )

    home: Path = Field(Path(), description="Folder that contains the folders artifacts and indexes.")
    artifact: Path | None = Field(
        None,
        description="An artifact, a folder of artifacts (the newest is served), or a bundled network: photos or elpv "
        "(default: artifacts below --home, or else photos).",
    )
    index: str | None = Field(
        None,
        description="Index to search, built with the same network: a folder, postgresql://USER@HOST/DATABASE, or "
        "milvus://HOST:PORT/NAME (default: indexes/NAME/VERSION below --home, if it exists).",
    )
    read_only: bool = Field(
        False,
        description="Open the index for reading only. Without it, clients can add and remove images.",
    )
    sync_folder: Path | None = Field(None, description="Folder of images that POST /sync syncs the index with.")
    precision: Precision = Field(
        "float32",
        description="Numeric precision of the network. int8 needs `alexnet quantize` and its own index.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one, shown in the log.")
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC; 0 picks a free one. Needs the extra grpc.",
    )
    uds: Path | None = Field(None, description="Unix socket to listen on, instead of an address and a port.")
    allowed_hosts: str = Field(
        "",
        description="Host names by which clients reach the server, comma-separated; *.DOMAIN for all its subdomains, "
        "* for any. IP addresses, names without a dot and names below localhost are always allowed.",
    )
    root_path: str = Field("", description="Prefix of all paths behind a proxy, such as /vision.")
    trusted_proxies: str = Field(
        f"127.0.0.1,::1,{UNIX_SOCKET}",
        description="IP addresses or networks of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are "
        "trusted, comma-separated; unix for all clients of --uds, * for any.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Device to run the network on. cuda fails if CUDA can't be used; auto falls back to the CPU.",
    )
    search_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Device to search on. cuda keeps a copy of the index on the GPU and needs faiss-gpu."
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=MAX_THREADS,
        description="Threads for the network (default: one per processor available to the process).",
    )
    keys: str = Field(
        "",
        repr=False,
        description="API keys, as SCOPE:KEY,SCOPE:KEY; scopes are read, write and admin. Without keys, anyone may "
        "use the server.",
    )
    keys_file: Path | None = Field(None, description="File of API keys, one SCOPE KEY per line.")
    public_metrics: bool = Field(False, description="Serve /metrics without an API key.")
    cors_origins: str = Field(
        "",
        description="Origins of other sites whose pages may use the server, comma-separated: https://a.example; * for "
        "any.",
    )
    log_level: LogLevel = Field(
        "info",
        description="Minimum severity of log messages. info logs a line per request, except successful routine ones "
        "(web page, API reference, thumbnails, health checks, metrics); debug logs these too; warning logs only "
        "requests with status 500.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the log; json writes one object per line."
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="Seconds from SIGTERM, when /ready turns to 503, until the listener closes."
    )
    shutdown_timeout: float = Field(
        20.0,
        gt=0,
        description="Maximum seconds to finish accepted requests after the listener closes (503 if exceeded).",
    )
    request_timeout: float = Field(
        30.0,
        gt=0,
        description="Maximum seconds per request: 408 if its body hasn't arrived by then, 504 if the response isn't "
        "ready.",
    )
    requests_per_second: float | None = Field(
        None,
        gt=0,
        description="Maximum requests per second of each API key or, without keys, of each address (429 if exceeded).",
    )
    max_concurrent_requests: int = Field(
        64, ge=1, description="Maximum requests in flight, of which one client gets about half (503 if exceeded)."
    )
    max_inflight_bytes: int = Field(
        256 * 1024 * 1024, ge=1, description="Maximum total bytes of bodies in flight (503 if exceeded)."
    )
    max_queued_crops: int = Field(
        640,
        ge=1,
        description="Maximum crops waiting for the network, up to ten per image, of which one client gets about half "
        "(503 if exceeded). At least 10, and at least 20 x (--max-images-per-request - 1).",
    )
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1, description="Maximum bytes of a request body (413 if exceeded)."
    )
    max_images_per_request: int = Field(16, ge=1, description="Maximum images in one request (422 if exceeded).")
    max_pixels: int = Field(
        DEFAULT_LIMITS.max_pixels,
        ge=1,
        le=1_000_000_000,
        description="Maximum pixels of a decoded image, up to 8 bytes each (413 if exceeded).",
    )

    @field_validator("artifact", "index", "sync_folder", "uds", mode="before")
    @classmethod
    def _empty_as_unset(cls, value: object) -> object:
        """Treat an empty variable as unset, as elsewhere; as a path, it would be the working directory."""
        return None if value == "" else value

    @field_validator("index", mode="before")
    @classmethod
    def _folder_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` where a settings file should have a number; it would be taken as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("expected a value other than true or false")
        return value

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        return normalize_prefix(value)

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        return _check_items(value, HOST_NAME, "host name: write NAME or *.DOMAIN, without scheme or port")

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        return _check_items(value, ORIGIN, "origin: write SCHEME://NAME or SCHEME://NAME:PORT, without a path")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for proxy in _split(value):
            if proxy in ("*", UNIX_SOCKET):
                continue
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(
                    f"{proxy!r} isn't an IP address or network: write 10.0.0.7 or 10.0.0.0/8 (not a name), "
                    f"{UNIX_SOCKET} or *"
                ) from None
        return value

    @property
    def allowed_origins(self) -> list[str]:
        """Origins of other web pages that may use the server; `*` for all."""
        return [_without_default_port(origin) for origin in _split(self.cors_origins.lower())]

    @property
    def host_names(self) -> list[str]:
        """Names of the server, besides addresses and names without a dot; `*` for all."""
        return _split(self.allowed_hosts)

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of trusted proxies; UNIX_SOCKET for all clients of a Unix socket, `*` for all."""
        return _split(self.trusted_proxies)


def _without_default_port(origin: str) -> str:
    """The origin as browsers send it."""
    return origin.removesuffix({"https": ":443", "http": ":80"}.get(origin.partition("://")[0], ""))


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _check_items(text: str, pattern: re.Pattern[str], expected: str) -> str:
    """The text, if each of its items matches `pattern`. Raises ValueError, which names what is `expected`."""
    for item in _split(text):
        if not pattern.fullmatch(item):
            raise ValueError(f"{item!r} isn't a valid {expected}")
    return text
