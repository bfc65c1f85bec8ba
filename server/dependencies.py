"""FastAPI dependencies: the service, the loaded model, authentication, admission, and uploaded images."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials

from server.deadlines import TIMEOUT_HEADER, parse_deadline
from server.exceptions import ForbiddenError
from server.loaded_model import LoadedModel
from server.request_context import RequestContext
from server.security import api_key_scheme, bearer_scheme, check_host, check_same_origin
from server.service import Service
from server.uploads import Upload, read_upload


async def get_service(request: Request) -> Service:
    """The service of the application."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def get_api_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
    api_key: Annotated[str | None, Security(api_key_scheme)],
) -> str | None:
    """The key of the request, of either header."""
    return bearer.credentials.strip() if bearer else api_key


ApiKeyDep = Annotated[str | None, Depends(get_api_key)]


async def require_read(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow any known key; everybody where there are no keys."""
    service.keys.require("read", api_key)


async def require_write(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow keys that may change the index; everybody where there are no keys."""
    service.keys.require("write", api_key)


async def require_admin(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow administrators' keys; nobody where there are no keys."""
    if not service.keys:
        raise ForbiddenError("this server has no API keys, which this operation needs: send the process SIGHUP instead")
    service.keys.require("admin", api_key)


async def require_same_origin(request: Request, service: ServiceDep) -> None:
    """Keep other web pages out of a server without keys; with keys, no other page has one.

    Raises HostNotAllowedError or CrossOriginError.
    """
    origins = service.settings.allowed_origins
    if not service.keys and "*" not in origins:
        check_host(request, origins)
        check_same_origin(request, origins)


async def get_loaded_model(service: ServiceDep) -> AsyncGenerator[LoadedModel, None]:
    """The model that is current when the request begins, for the whole of the request."""
    with service.hold_current() as loaded_model:
        yield loaded_model


LoadedModelDep = Annotated[LoadedModel, Depends(get_loaded_model)]
ImageId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of an indexed image.")]


async def admit(
    request: Request, service: ServiceDep, loaded_model: LoadedModelDep
) -> AsyncGenerator[RequestContext, None]:
    """Count a request as in flight until its response is complete. Raises OverloadedError or InvalidRequestError."""
    deadline = parse_deadline(request.headers.get(TIMEOUT_HEADER), service.settings.request_timeout)
    with service.admission.admit() as quota:
        yield RequestContext(request, service, loaded_model, quota, deadline)


ContextDep = Annotated[RequestContext, Depends(admit)]


async def receive_upload(context: ContextDep) -> Upload:
    """The images of a request, refused before and after its body if they could not be classified in time.

    Raises OverloadedError, RequestTimeoutError, BodyTooLargeError or InvalidBodyError.
    """
    settings = context.service.settings
    context.check_deadline()
    upload = await read_upload(
        context.request, context.quota, settings.request_timeout,
        settings.max_body_bytes, settings.max_images_per_request,
    )  # fmt: skip
    context.check_deadline(len(upload.images))
    return upload


UploadDep = Annotated[Upload, Depends(receive_upload)]
