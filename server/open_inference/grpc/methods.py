"""The methods of the service as requests to the HTTP interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.exceptions import InvalidRequestError
from server.connections.http_protocol import MAX_HEADER_BYTES
from server.exceptions import UnknownModelError
from server.open_inference.grpc.calls import HttpResponse
from server.open_inference.grpc.messages import (
    Message,
    decode_response,
    encode_request,
    parse_document,
    parse_log_settings,
    parse_trace_settings,
)
from server.open_inference.infer_request import LENGTH_HEADER

Body = tuple[list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True)
class Method:
    """How a call becomes an HTTP request (path, GET or POST, headers and body), and its response a message."""

    path: Callable[[Message], str]
    parse: Callable[[HttpResponse], Message]
    is_post: Callable[[Message], bool] = lambda request: False
    encode: Callable[[Message], Body] = lambda request: ([], b"")


def _model_path(name: str, version: str, suffix: str = "") -> str:
    """A path of a model. Raises InvalidRequestError or UnknownModelError for names that would give another path."""
    if len(name) + len(version) > MAX_HEADER_BYTES:
        raise InvalidRequestError(f"the model's name and version exceed {MAX_HEADER_BYTES:,} characters in total")
    if not name or "/" in name + version or (name == "stats" and not version + suffix):
        if "/" in version:
            raise UnknownModelError(f"unknown version {version[:80]!r} of the model {name[:80]!r}")
        raise UnknownModelError(f"unknown model {name[:80]!r}: calls such as ModelInfer need the model's name")
    return f"/v2/models/{name}" + (f"/versions/{version}" if version else "") + suffix


def _path_of_model(suffix: str) -> Callable[[Message], str]:
    return lambda request: _model_path(request.name, request.version, suffix)


def _parse_as(name: str, wrap: Callable[[Any], Any] = lambda document: document) -> Callable[[HttpResponse], Message]:
    return lambda response: parse_document(name, wrap(response.json()))


def _has_settings(request: Message) -> bool:
    return bool(request.settings)


def _encode_infer(request: Message) -> Body:
    body, length = encode_request(request)
    headers = [(LENGTH_HEADER.lower().encode(), str(length).encode()), (b"content-type", b"application/octet-stream")]
    return headers, body


METHODS = {
    "ServerLive": Method(lambda request: "/v2/health/live", _parse_as("ServerLiveResponse")),
    "ServerReady": Method(lambda request: "/v2/health/ready", _parse_as("ServerReadyResponse")),
    "ServerMetadata": Method(lambda request: "/v2", _parse_as("ServerMetadataResponse")),
    "ModelReady": Method(_path_of_model("/ready"), _parse_as("ModelReadyResponse")),
    "ModelMetadata": Method(_path_of_model(""), _parse_as("ModelMetadataResponse")),
    "ModelConfig": Method(
        _path_of_model("/config"), _parse_as("ModelConfigResponse", lambda document: {"config": document})
    ),
    "ModelStatistics": Method(
        lambda request: _model_path(request.name, request.version, "/stats") if request.name else "/v2/models/stats",
        _parse_as("ModelStatisticsResponse"),
    ),
    "ModelInfer": Method(
        lambda request: _model_path(request.model_name, request.model_version, "/infer"),
        lambda response: decode_response(response.body, int(response.headers[LENGTH_HEADER])),
        lambda request: True,
        _encode_infer,
    ),
    "RepositoryIndex": Method(
        lambda request: "/v2/repository/index",
        _parse_as("RepositoryIndexResponse", lambda document: {"models": document}),
        lambda request: True,
    ),
    "TraceSetting": Method(
        lambda request: (_model_path(request.model_name, "") if request.model_name else "/v2") + "/trace/setting",
        lambda response: parse_trace_settings(response.json()),
        _has_settings,
    ),
    "LogSettings": Method(
        lambda request: "/v2/logging", lambda response: parse_log_settings(response.json()), _has_settings
    ),
}
"""By name in the protocol; ModelStreamInfer runs ModelInfer for each message."""
