"""FastAPI dependencies: the service, the loaded model, authentication, admission, and uploaded images."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials

from index.entries import MAX_ID
from server.exceptions import ForbiddenError
from server.limits.deadlines import TIMEOUT_HEADER, parse_deadline
from server.loaded_model import LoadedModel
from server.parameters import P, known_parameters, merge_parameters
from server.request_body.uploads import (
    Upload,
    is_form,
    is_json,
    parse_form_upload,
    parse_json_upload,
    read_body,
    read_form,
)
from server.request_context import RequestContext
from server.security import api_key_scheme, bearer_scheme, check_same_origin, key_of
from server.service import Service


async def get_service(request: Request) -> Service:
    """The service of the application."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def get_api_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
    api_key: Annotated[str | None, Security(api_key_scheme)],
) -> str | None:
    """The request's API key. `bearer` and `api_key` only add their schemes to the OpenAPI document."""
    return key_of(request.headers)


ApiKeyDep = Annotated[str | None, Depends(get_api_key)]


async def require_read(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow any known key; allow everybody if the server has no keys."""
    service.keys.require("read", api_key)


async def require_write(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow keys that may change the index; allow everybody if the server has no keys."""
    service.keys.require("write", api_key)


WRITE = [Depends(require_write)]
"""Dependencies of a route that changes the index."""


async def require_admin(service: ServiceDep, api_key: ApiKeyDep) -> None:
    """Allow administrators' keys; allow nobody if the server has no keys."""
    if not service.keys:
        raise ForbiddenError(
            "this operation needs an API key with the scope admin, but this server has no keys: to reload, send "
            "SIGHUP; to compact, run `alexnet index compact` while no server writes to the index"
        )
    service.keys.require("admin", api_key)


async def show_paths(service: ServiceDep, api_key: ApiKeyDep) -> bool:
    """Whether responses include the paths of original files: only for administrators."""
    return service.keys.is_admin(api_key)


ShowPathsDep = Annotated[bool, Depends(show_paths)]


async def require_same_origin(request: Request, service: ServiceDep) -> None:
    """Reject cross-origin requests on a server without API keys. Raises CrossOriginError.

    With keys, the check isn't needed, because a page of another origin can't know a key.
    """
    origins = service.settings.allowed_origins
    if not service.keys and "*" not in origins:
        check_same_origin(request, origins)


async def get_loaded_model(service: ServiceDep) -> AsyncGenerator[LoadedModel, None]:
    """The model that is current when the request begins, held until the request ends."""
    with service.hold_current() as loaded_model:
        yield loaded_model


LoadedModelDep = Annotated[LoadedModel, Depends(get_loaded_model)]
ImageId = Annotated[int, Path(ge=1, le=MAX_ID, description="Id of an indexed image.")]


async def get_client(request: Request, service: ServiceDep, api_key: ApiKeyDep) -> str:
    """Who sends the request."""
    return service.client_of(api_key, request.client)


async def admit(
    request: Request,
    service: ServiceDep,
    loaded_model: LoadedModelDep,
    client: Annotated[str, Depends(get_client)],
) -> AsyncGenerator[RequestContext, None]:
    """Count a request as in flight until its response is complete.

    Raises OverloadedError, RateLimitedError or InvalidHeaderError.
    """
    deadline = parse_deadline(request.headers.get(TIMEOUT_HEADER), service.settings.request_timeout)
    service.rate_limit.check(client)
    with service.admission.admit(client) as quota:
        yield RequestContext(request, service, loaded_model, quota, deadline)


ContextDep = Annotated[RequestContext, Depends(admit)]


async def receive_body(context: ContextDep) -> bytes:
    """The body of a request. Checks, before and after reading, that one image could be classified by the deadline.

    Raises OverloadedError, RequestTimeoutError, or BodyTooLargeError.
    """
    context.check_deadline()
    body = await read_body(context.request, context.quota)
    context.check_deadline()
    return body


BodyDep = Annotated[bytes, Depends(receive_body)]


async def receive_optional_upload(context: ContextDep) -> Upload:
    """The images in a form, in JSON or as the whole body, and the parameters sent with them. There may be no image.

    Checks the deadline for one image before reading, and for all images after reading. Raises OverloadedError,
    RequestTimeoutError, BodyTooLargeError, InvalidBodyError, InvalidHeaderError, or InvalidRequestError.
    """
    request, quota, max_images = context.request, context.quota, context.service.settings.max_images_per_request
    known = known_parameters(request)
    context.check_deadline()
    if is_form(request):
        upload = parse_form_upload(await read_form(request, quota, max_images), known, max_images)
    elif is_json(request):
        body = await read_body(request, quota)
        upload = await context.run(context.run_in_pool(lambda: parse_json_upload(body, known, max_images)))
    else:
        upload = Upload.of_body(await read_body(request, quota))
    context.check_deadline(len(upload.images))
    return upload


OptionalUploadDep = Annotated[Upload, Depends(receive_optional_upload)]


async def receive_upload(upload: OptionalUploadDep) -> Upload:
    """An upload with at least one image. Raises MissingBodyError."""
    upload.require_images()
    return upload


UploadDep = Annotated[Upload, Depends(receive_upload)]


def parameters_of(model: type[P]) -> Callable[..., Awaitable[P]]:
    """A dependency that merges the parameters of the query with those of the form or the JSON.

    It raises InvalidRequestError for a parameter in two places, and RequestValidationError for an invalid value.
    """

    async def merge(request: Request, query: P, upload: Upload) -> P:
        return merge_parameters(query, request.query_params.keys(), upload.fields)

    merge.__annotations__ = {  # FastAPI reads these; as strings they couldn't refer to `model`
        "request": Request, "query": Annotated[model, Query()], "upload": OptionalUploadDep, "return": model,
    }  # fmt: skip
    return merge
