"""Previews: an image as the network sees it, the upright center square, 256 x 256."""

from __future__ import annotations

from fastapi import APIRouter, Response

from server.dependencies import ContextDep, ImageId, UploadDep
from server.request_body.uploads import describe_body
from server.request_context import RequestContext
from server.responses.openapi import (
    ADMITTED_RESPONSES,
    DECODING_RESPONSES,
    INDEX_RESPONSES,
    UPLOAD_RESPONSES,
    file_response,
    merge_responses,
)
from server.responses.png import png_response
from server.routes.caching import CACHED_RESPONSES, IfNoneMatch, send_cached
from server.routes.originals import read_original

router = APIRouter(tags=["classification and search"])


@router.post(
    "/preview",
    responses=merge_responses(file_response("image/png"), UPLOAD_RESPONSES),
    openapi_extra=describe_body(),
    response_class=Response,
    summary="An image as the network sees it",
)
async def preview(context: ContextDep, upload: UploadDep) -> Response:
    """A PNG of 256 x 256 pixels.

    With a network of full detail, `/classify` and `/similar` give the same result for the PNG as for the image itself.
    A network of less detail (`-detail-48`, for example, in the `image_contract` of its manifest) reduces the PNG once
    more, so the result can differ.
    """
    return await context.run(_render(context, upload.image))


@router.get(
    "/images/{image_id}/preview",
    responses=merge_responses(
        file_response("image/png"), INDEX_RESPONSES, DECODING_RESPONSES, ADMITTED_RESPONSES, CACHED_RESPONSES
    ),
    response_class=Response,
    summary="An indexed image as the network sees it",
)
async def preview_indexed(context: ContextDep, image_id: ImageId, if_none_match: IfNoneMatch = None) -> Response:
    """Made from the original file, as long as it is unchanged; an uploaded image has no file."""

    async def work() -> Response:
        return await _render(
            context, await context.read_file(lambda index: read_original(index, image_id, context.deadline_passed))
        )

    contract = context.loaded_model.artifact.image_contract
    return await send_cached(context, image_id, if_none_match, lambda: context.run(work()), f"-{contract.name}")


async def _render(context: RequestContext, data: bytes) -> Response:
    image = await context.decode(data)
    return await context.run_in_pool(lambda: png_response(image.pixels))
