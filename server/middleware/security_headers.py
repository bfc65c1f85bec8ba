"""Security headers of every response: what a page may load, and who may embed or cache it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.addresses import route_path
from server.middleware.response_headers import HeaderList, with_headers

CONTENT_SECURITY_POLICY = (
    b"default-src 'self'; img-src 'self' blob:; object-src 'none'; form-action 'none'; frame-ancestors 'none'"
)
API_REFERENCE_POLICY = CONTENT_SECURITY_POLICY.replace(b"blob:", b"blob: data:")
"""For the page at /docs: Swagger UI's icons are data URLs in its style sheet."""
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class SecurityHeadersMiddleware:
    """Adds security headers to every response. `allow_embedding`: whether pages of any origin may show its images."""

    def __init__(self, app: ASGIApp, allow_embedding: bool) -> None:
        self.app = app
        self.resource_policy = b"cross-origin" if allow_embedding else b"same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def headers() -> HeaderList:
            return [*_security_headers(scope), (b"cross-origin-resource-policy", self.resource_policy)]

        await self.app(scope, receive, with_headers(send, headers))


def _security_headers(scope: Scope) -> HeaderList:
    path, headers = route_path(scope), list(SECURITY_HEADERS)
    policy = API_REFERENCE_POLICY if path == "/docs" else CONTENT_SECURITY_POLICY
    base = b"'self'" if path == "/" and scope.get("root_path") else b"'none'"
    headers.append((b"content-security-policy", policy + b"; base-uri " + base))
    if path == "/" or path.startswith(("/page/", "/docs")):  # files from two versions of a page don't fit together
        headers.append((b"cache-control", b"no-cache"))
    return headers
