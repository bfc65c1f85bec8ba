"""The image as the network sees it: upright, its central square, 256 x 256."""

from __future__ import annotations

import io

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from PIL import Image
from starlette.concurrency import run_in_threadpool

from index.protocol import Index
from server.routes.classify import ERRORS
from server.routes.images import IMMUTABLE, original
from server.routes.similar import NOT_FOUND
from server.timing import phases_of
from server.uploads import OPENAPI_BODY, DeadlineDep, ImageId, ServiceDep, ServingDep, UploadDep, answered

router = APIRouter(tags=["images in, answers out"])


@router.post(
    "/square",
    responses=ERRORS,
    openapi_extra=OPENAPI_BODY,
    response_class=Response,
    summary="An image as the network sees it",
)
async def square(upload: UploadDep, service: ServiceDep) -> Response:
    """A PNG of 256 x 256 pixels. Sent to `/classify` or `/similar` it is answered as the image itself is."""

    async def work() -> Response:
        image = await service.read(upload.image, upload.phases)
        return await service.in_thread(lambda: _png(image.pixels))

    return await upload.answered(work())


@router.get(
    "/images/{image_id}/square",
    responses=NOT_FOUND | ERRORS,
    response_class=Response,
    summary="An indexed image as the network saw it",
)
async def square_of(
    request: Request, deadline: DeadlineDep, image_id: ImageId, service: ServiceDep, serving: ServingDep
) -> Response:
    """From the original file, as long as it is still where it was."""
    index = serving.require_index()

    async def work() -> Response:
        data = await run_in_threadpool(_bytes, index, image_id)
        image = await service.read(data, phases_of(request.scope))
        return await service.in_thread(lambda: _png(image.pixels))

    answer = await answered(request, deadline, work())
    answer.headers.update(IMMUTABLE)
    return answer


def _bytes(index: Index, image_id: int) -> bytes:
    file, _ = original(index, image_id)
    with file:
        return file.read()


def _png(pixels: NDArray[np.uint8]) -> Response:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")
