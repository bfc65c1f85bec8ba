"""What a deployment chooses: environment variables with the prefix ALEXNET_, or `alexnet serve`'s flags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.artifacts.artifact import Precision


class Settings(BaseSettings):
    """Frozen after start. `index` absent: `/similar` answers 404 and everything else works."""

    model_config = SettingsConfigDict(env_prefix="ALEXNET_", frozen=True)

    artifact: Path = Field(Path("artifacts"), description="An artifact, or a folder whose newest one is served.")
    index: Path | None = Field(None, description="An index made by the same network.")
    indexes: Path = Field(Path("indexes"), description="Where the index NAME/VERSION of an artifact is, if not named.")
    read_only: bool = Field(False, description="Never change the index.")
    precision: Precision = Field("float32", description="float32, or int8 where `alexnet quantize` made it.")
    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless told otherwise.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any that is free.")
    device: str = Field("auto", description="auto, cpu or cuda.")
    search_device: Literal["cpu", "cuda"] = Field("cpu", description="cuda: the rows on a GPU, by faiss-gpu.")
    threads: int | None = Field(None, ge=1, description="Threads of inference; all processors by default.")
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1, description="Largest request body.")
    max_body_seconds: float = Field(20.0, gt=0, description="Longest time for a request's body to come.")
    max_pixels: int = Field(64_000_000, ge=1, le=89_000_000, description="Largest image, checked before it is decoded.")
    keys: str = Field("", repr=False, description="SCOPE:KEY,SCOPE:KEY; scopes are read, write and admin.")
    keys_file: Path | None = Field(None, description="A file with a line SCOPE KEY for each key, instead.")
    open_metrics: bool = Field(False, description="/metrics without a key, where keys are asked for.")
    cors_origins: str = Field("", description="Web pages that may ask, as ORIGIN,ORIGIN; none by default.")
    log_format: Literal["text", "json"] = Field("text", description="A line a request, for people or for machines.")
    drain_seconds: float = Field(0.0, ge=0, description="Between not being ready and closing the listener, at the end.")
    max_waiting: int = Field(64, ge=1, description="Requests in work at once; one more is answered 503.")
    max_bytes: int = Field(256 * 1024 * 1024, ge=1, description="Bytes of all bodies in work at once.")
    max_crops: int = Field(640, ge=1, description="Crops that wait for the network at once; an image has up to ten.")
    max_images: int = Field(16, ge=1, description="Images in one request.")
    max_seconds: float = Field(30.0, gt=0, description="Longest time for an answer, if the client asks for no shorter.")
