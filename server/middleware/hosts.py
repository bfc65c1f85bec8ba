"""Host headers: requests for other names are refused."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.addresses import route_path
from server.exceptions import HostNotAllowedError
from server.responses.error_handlers import respond_to_error
from server.security import AllowedHosts

HEALTH = ("/live", "/ready")


class HostMiddleware:
    """Refuses requests whose Host header isn't known to be this server's, except for `/live` and `/ready`."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and route_path(scope) not in HEALTH:
            try:
                self.hosts.check(Request(scope))
            except HostNotAllowedError as error:
                app = respond_to_error(Request(scope), error)
        await app(scope, receive, send)
