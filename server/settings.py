"""Server settings: environment variables with the prefix ALEXNET_, flags of `alexnet serve`, or a TOML file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.artifacts.artifact import Precision
from server.addresses import normalize_prefix


class Settings(BaseSettings):
    """The server's settings, frozen after start."""

    model_config = SettingsConfigDict(env_prefix="ALEXNET_", frozen=True)

    home: Path = Field(Path(), description="Folder that holds artifacts and indexes.")
    artifact: Path | None = Field(
        None,
        description="Artifact, or a folder of artifacts, whose newest is served (default: artifacts below --home).",
    )
    index: str | None = Field(
        None,
        description="Index of the same network: a folder or milvus://HOST:PORT/NAME "
        "(default: indexes/NAME/VERSION below --home).",
    )
    read_only: bool = Field(False, description="Never change the index.")
    sync_folder: Path | None = Field(None, description="Folder of images that the index follows on `POST /sync`.")
    precision: Precision = Field("float32", description="Numeric precision of the network: float32 or int8.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="Port of the Open Inference Protocol over gRPC; needs the extra grpc."
    )
    uds: Path | None = Field(None, description="Unix socket to listen on, instead of an address and a port.")
    allowed_hosts: str = Field(
        "",
        description="Names in the Host header that are this server's, comma-separated; *.DOMAIN for those below it, "
        "* for any. Addresses and names without a dot always are.",
    )
    root_path: str = Field("", description="Prefix of all addresses behind a proxy: /vision.")
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses or networks of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix count, "
        "comma-separated; * for any.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device to compute on.")
    search_device: Literal["cpu", "cuda"] = Field("cpu", description="Device to search on; cuda needs faiss-gpu.")
    threads: int | None = Field(None, ge=1, description="Inference threads (default: all processors).")
    keys: str = Field("", repr=False, description="API keys, as SCOPE:KEY,SCOPE:KEY; scopes are read, write, admin.")
    keys_file: Path | None = Field(None, description="File with API keys, one line SCOPE KEY for each.")
    public_metrics: bool = Field(False, description="Serve /metrics without an API key.")
    cors_origins: str = Field("", description="Allowed CORS origins, comma-separated.")
    log_format: Literal["text", "json"] = Field("text", description="Log format.")
    drain_seconds: float = Field(0.0, ge=0, description="Seconds between not being ready and closing, on SIGTERM.")
    request_timeout: float = Field(30.0, gt=0, description="Maximum seconds for a request's body and its response.")
    requests_per_second: float | None = Field(
        None, gt=0, description="Maximum requests per second of each API key, or without keys of each address."
    )
    max_concurrent_requests: int = Field(64, ge=1, description="Maximum requests in flight.")
    max_inflight_bytes: int = Field(256 * 1024 * 1024, ge=1, description="Maximum bytes of all bodies in flight.")
    max_queued_crops: int = Field(640, ge=1, description="Maximum crops waiting for the network, up to ten per image.")
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1, description="Maximum bytes of a request's body.")
    max_images_per_request: int = Field(16, ge=1, description="Maximum images in one request.")
    max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000, description="Maximum pixels of an image.")

    @field_validator("index", mode="before")
    @classmethod
    def _folder_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        return normalize_prefix(value)

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for proxy in _split(value):
            if proxy != "*":
                ipaddress.ip_network(proxy, strict=False)
        return value

    @property
    def artifact_path(self) -> Path:
        """The artifact, or the folder of artifacts."""
        return self.artifact or self.home / "artifacts"

    @property
    def allowed_origins(self) -> list[str]:
        """Origins of other web pages that may use the server; `*` for all."""
        return _split(self.cors_origins)

    @property
    def host_names(self) -> list[str]:
        """Names of the server, besides addresses and names without a dot; `*` for all."""
        return _split(self.allowed_hosts)

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of trusted proxies; `*` for all."""
        return _split(self.trusted_proxies)


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
