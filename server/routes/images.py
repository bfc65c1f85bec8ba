"""/images: list, show, add, update and remove the images of the index."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from index.entries import NewEntry
from model.exceptions import InvalidImageError, InvalidRequestError
from server.dependencies import ContextDep, ImageId, LoadedModelDep, UploadDep, require_write
from server.exceptions import BAD_REQUEST, BodyTooLargeError, InferenceError, RequestTimeoutError
from server.originals import CACHE_HEADERS, iter_chunks, open_original
from server.request_context import RequestContext
from server.responses import (
    DEADLINE_RESPONSES,
    INDEX_RESPONSES,
    UPLOAD_RESPONSES,
    WRITE_RESPONSES,
    image_error,
    merge_responses,
    responses_for,
)
from server.schemas import (
    AddedImage,
    AddImagesResponse,
    ErrorResponse,
    ImagesResponse,
    ImageUpdate,
    IndexedImage,
    IndexRef,
    LabelCount,
    LabelsResponse,
)
from server.uploads import OPENAPI_BODY, Upload

router = APIRouter(tags=["index"], responses=INDEX_RESPONSES)
MAX_FIELD_LENGTH = 200
WRITE = [Depends(require_write)]
UPDATE_RESPONSES = merge_responses(
    WRITE_RESPONSES,
    responses_for(BodyTooLargeError, RequestTimeoutError),
    {BAD_REQUEST.status: {"model": ErrorResponse, "description": f"`{BAD_REQUEST.code}`: {BAD_REQUEST.description}"}},
)


@router.get("/labels", summary="Labels of the index")
def labels(loaded_model: LoadedModelDep) -> LabelsResponse:
    """Each label with its number of images, in alphabetical order."""
    counts = sorted(loaded_model.require_index().labels().items())
    return LabelsResponse(labels=[LabelCount(label=label, images=count) for label, count in counts])


@router.get("/images", summary="Indexed images, page by page")
def list_images(
    loaded_model: LoadedModelDep,
    label: Annotated[str | None, Query(description="Only images with this label.")] = None,
    cursor: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next_cursor` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Images per page.")] = 100,
) -> ImagesResponse:
    """Ordered by id. `next_cursor` is the `cursor` of the next page, null on the last."""
    index = loaded_model.require_index()
    entries = index.catalog.page(cursor, limit + 1, label)
    page = entries[:limit]
    return ImagesResponse(
        index=IndexRef.of(index),
        images=[IndexedImage.of(entry) for entry in page],
        next_cursor=page[-1].id if len(entries) > limit else None,
    )


@router.post(
    "/images",
    responses=merge_responses(UPLOAD_RESPONSES, WRITE_RESPONSES),
    openapi_extra=OPENAPI_BODY,
    dependencies=WRITE,
    summary="Add images",
)
async def add_images(context: ContextDep, upload: UploadDep) -> AddImagesResponse:
    """Fields: `image`; `label`, one for all images or one for each; `key`, a name of your own for each.

    The same bytes are the same image: `exists` means that it was indexed already, `restored` that it had been removed.
    When the response arrives, the images are on the disk. An image that can't be decoded has an error in its place; the
    others are added.
    """
    labels, keys = _values_per_image(upload, "label"), _values_per_image(upload, "key")
    return await context.run(_add(context, upload, labels, keys))


async def _add(
    context: RequestContext, upload: Upload, labels: list[str | None], keys: list[str | None]
) -> AddImagesResponse:
    index = context.loaded_model.require_index()

    async def prepare(number: int, data: bytes) -> tuple[NDArray[np.float32], NewEntry] | ErrorResponse:
        try:
            image = await context.decode(data)
            feature = await context.extract_feature(image)
        except (InvalidImageError, InferenceError) as error:
            if len(upload.images) == 1:
                raise
            return image_error(context.request, error)
        sha256 = hashlib.sha256(data).hexdigest()
        return feature, NewEntry.from_image(sha256, image, labels[number], None, keys[number])

    prepared = await asyncio.gather(*[prepare(number, data) for number, data in enumerate(upload.images)])
    good = [item for item in prepared if not isinstance(item, ErrorResponse)]
    results = []
    if good:
        features, entries = np.stack([feature for feature, _ in good]), [entry for _, entry in good]
        results = await context.run_in_pool(lambda: index.add(features, entries))
    remaining = iter(results)
    images = [item if isinstance(item, ErrorResponse) else AddedImage.of(next(remaining)) for item in prepared]
    return AddImagesResponse(index=IndexRef.of(index), images=images)


def _values_per_image(upload: Upload, name: str) -> list[str | None]:
    """The form field `name` of each image. Raises InvalidRequestError."""
    values, count = upload.fields.get(name, []), len(upload.images)
    if name == "label" and len(values) == 1:
        values = values * count
    if values and len(values) != count:
        raise InvalidRequestError(f"expected one field '{name}' per image ({count}), got {len(values)}")
    if any(not value or len(value) > MAX_FIELD_LENGTH for value in values):
        raise InvalidRequestError(f"invalid field '{name}': it must have 1 to {MAX_FIELD_LENGTH} characters")
    return list(values) or [None] * count


@router.get("/images/{image_id}", summary="An indexed image")
def get_image(image_id: ImageId, loaded_model: LoadedModelDep) -> IndexedImage:
    """Its label, size, and the addresses of its file, thumbnail and neighbors."""
    return IndexedImage.of(loaded_model.require_index().entry(image_id))


@router.patch(
    "/images/{image_id}", responses=UPDATE_RESPONSES, dependencies=WRITE, summary="Update or restore an image"
)
def update_image(image_id: ImageId, loaded_model: LoadedModelDep, update: ImageUpdate) -> IndexedImage:
    """`label`: a new label, or null for none. `removed`: false restores a removed image."""
    index = loaded_model.require_index()
    if update.removed is False:
        index.restore(image_id)
    if "label" in update.model_fields_set:
        index.update(image_id, update.label)
    return IndexedImage.of(index.entry(image_id))


@router.delete(
    "/images/{image_id}", responses=WRITE_RESPONSES, dependencies=WRITE, status_code=204, summary="Remove an image"
)
def remove_image(image_id: ImageId, loaded_model: LoadedModelDep) -> None:
    """Searches no longer return it. `PATCH` with `{"removed": false}`, or adding its bytes again, restores it until the
    index is compacted."""
    loaded_model.require_index().remove(image_id)


@router.get("/images/{image_id}/thumbnail", summary="Thumbnail, a 128 x 128 JPEG", response_class=Response)
def get_thumbnail(image_id: ImageId, loaded_model: LoadedModelDep) -> Response:
    """The preview of the image, small."""
    data = loaded_model.require_index().catalog.thumbnail(image_id)
    return Response(data, media_type="image/jpeg", headers=CACHE_HEADERS)


@router.get(
    "/images/{image_id}/image", responses=DEADLINE_RESPONSES, summary="The original file", response_class=Response
)
async def get_original(context: ContextDep, image_id: ImageId) -> Response:
    """The bytes that were indexed, while the file is unchanged; an uploaded image has none."""
    index = context.loaded_model.require_index()
    file, image_format = await context.run(run_in_threadpool(open_original, index, image_id))
    headers = CACHE_HEADERS | {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(iter_chunks(file), media_type=f"image/{image_format.lower()}", headers=headers)
