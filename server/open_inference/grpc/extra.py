"""Loads the gRPC server if the extra `grpc` is installed; the rest of the package imports grpcio and protobuf."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from model.requirements import install_extra
from server.connections.listening import check_address
from server.exceptions import BindError, MissingPackageError
from server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from server.service import Service


def check_grpc(settings: Settings) -> None:
    """Raise MissingPackageError or BindError, before anything slow is done, if the settings can't be met."""
    if settings.grpc_port is not None:
        load_serve_grpc()
        if settings.grpc_port == settings.port != 0 and settings.uds is None:
            raise BindError(f"--grpc-port and --port are both {settings.port}: choose different ports")
        check_address(settings.host, settings.grpc_port, "--grpc-port")


def load_serve_grpc() -> Callable[[ASGIApp, Service, int], AbstractAsyncContextManager[int]]:
    """`server.open_inference.grpc.server.serve_grpc`. Raises MissingPackageError."""
    try:
        from server.open_inference.grpc.server import serve_grpc
    except ImportError as error:
        raise MissingPackageError(f"--grpc-port needs {error.name}: {install_extra('grpc')}") from error
    return serve_grpc
