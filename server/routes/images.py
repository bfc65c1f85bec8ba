"""/images: list, show, add, update and remove the images of the index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Response
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import StreamingResponse

from index.bulk_change import BulkChange, Selection
from index.entries import MAX_ID, Entry, NewEntry
from index.protocol import Index, ids_of_keys, page_of_intact
from model.exceptions import InvalidImageError, InvalidRequestError
from model.images.formats import MEDIA_TYPES
from server.dependencies import WRITE, ContextDep, ImageId, ShowPathsDep, UploadDep, parameters_of
from server.exceptions import (
    BAD_REQUEST,
    BodyTooLargeError,
    InferenceError,
    InvalidBodyError,
    MissingBodyError,
    RequestTimeoutError,
    UnsupportedEncodingError,
)
from server.limits.deadlines import gather_all
from server.parameters import MAX_SELECTED, LookupLabel, Parameters, StoredId, StoredLabel, StoredText
from server.request_body.json_body import UniqueNamesRoute
from server.request_body.uploads import Upload, describe_body
from server.request_context import RequestContext
from server.responses.error_handlers import image_error
from server.responses.openapi import (
    ADMITTED_RESPONSES,
    INDEX_RESPONSES,
    UPLOAD_RESPONSES,
    WRITE_RESPONSES,
    file_response,
    merge_responses,
    responses_for,
)
from server.responses.schemas import (
    AddedImage,
    AddImagesResponse,
    BulkChangeResponse,
    BulkUpdate,
    ErrorResponse,
    ImagesResponse,
    ImageUpdate,
    IndexedImage,
    IndexRef,
    LabelCount,
    LabelsResponse,
)
from server.routes.caching import CACHED_RESPONSES, IfNoneMatch, send_cached
from server.routes.originals import iter_chunks, open_original

router = APIRouter(
    route_class=UniqueNamesRoute, tags=["index"], responses=merge_responses(INDEX_RESPONSES, ADMITTED_RESPONSES)
)
UPDATE_RESPONSES = merge_responses(
    WRITE_RESPONSES,
    responses_for(BodyTooLargeError, RequestTimeoutError, UnsupportedEncodingError, InvalidBodyError, MissingBodyError),
    {BAD_REQUEST.status: {"model": ErrorResponse, "description": f"`{BAD_REQUEST.code}`: {BAD_REQUEST.description}"}},
)


class PageParams(Parameters):
    """Which images are listed."""

    label: Annotated[LookupLabel | None, Field(description="Only images with this label.")] = None
    key: Annotated[StoredText | None, Field(description="Only the image with this key; 404 if there is none.")] = None
    cursor: Annotated[int, Field(ge=0, le=MAX_ID, description="`next_cursor` of the previous page.")] = 0
    limit: Annotated[int, Field(ge=1, le=1000, description="Images per page.")] = 100


class AddParams(Parameters):
    """What is stored with added images."""

    label: Annotated[
        list[StoredLabel], Field(default_factory=list, description="One for all images, or one per image.")
    ]
    key: Annotated[list[StoredText], Field(default_factory=list, description="Your own name for each image.")]


class SelectionParams(Parameters):
    """Which images are removed."""

    id: Annotated[list[StoredId], Field(default_factory=list, max_length=MAX_SELECTED, description="Ids of images.")]
    key: Annotated[
        list[StoredText], Field(default_factory=list, max_length=MAX_SELECTED, description="Keys of images.")
    ]
    label: Annotated[LookupLabel | None, Field(description="All images with this label.")] = None


@router.get("/labels", summary="Labels of the index")
async def labels(context: ContextDep) -> LabelsResponse:
    """Each label with its number of images, in alphabetical order."""
    counts = sorted((await context.run(context.read_index(lambda index: index.labels()))).items())
    return LabelsResponse(labels=[LabelCount(label=label, images=count) for label, count in counts])


@router.get("/images", summary="Indexed images, page by page")
async def list_images(
    context: ContextDep, params: Annotated[PageParams, Query()], show_path: ShowPathsDep
) -> ImagesResponse:
    """The images are ordered by id. `next_cursor` is the `cursor` of the next page; it is null on the last. If no image
    has the label, the list is empty."""
    if params.key is not None and (params.label is not None or params.cursor):
        raise InvalidRequestError("'key' names a single image: leave out 'label' and 'cursor'")
    return await context.run(context.read_index(lambda index: _page(index, params, show_path, context.prefix)))


def _page(index: Index, params: PageParams, show_path: bool, prefix: str) -> ImagesResponse:
    if params.key is not None:
        entries = [index.entry(image_id) for image_id in ids_of_keys(index, [params.key])]
    else:
        entries = page_of_intact(index, params.cursor, params.limit + 1, params.label)
    page = entries[: params.limit]
    return ImagesResponse(
        index=IndexRef.of(index),
        images=[IndexedImage.of(entry, show_path, prefix) for entry in page],
        total=index.count(params.label) if params.key is None else len(entries),
        has_more=len(entries) > params.limit,
        next_cursor=page[-1].id if len(entries) > params.limit else None,
    )


@router.post(
    "/images",
    responses=merge_responses(UPLOAD_RESPONSES, WRITE_RESPONSES),
    openapi_extra=describe_body(),
    dependencies=WRITE,
    summary="Add images",
)
async def add_images(
    context: ContextDep, upload: UploadDep, params: Annotated[AddParams, Depends(parameters_of(AddParams))]
) -> AddImagesResponse:
    """Send images as for `POST /classify`.

    The same bytes are the same image: `exists` means that it was indexed already, `restored` that it had been removed.
    In both cases it keeps its label and key; `PATCH /images/{image_id}` changes the label. When the response arrives,
    the images are on disk. Among several images, one that can't be decoded has an error in its place; the others are
    added.
    """
    count = len(upload.images)
    labels = _values_per_image("label", params.label * count if len(params.label) == 1 else params.label, count)
    keys = _values_per_image("key", params.key, count)
    return await context.run(_add(context, upload, labels, keys))


async def _add(
    context: RequestContext, upload: Upload, labels: Sequence[str | None], keys: Sequence[str | None]
) -> AddImagesResponse:
    context.loaded_model.require_index()

    async def prepare(number: int, data: bytes) -> tuple[NDArray[np.float32], NewEntry] | ErrorResponse:
        try:
            image = await context.decode(data)
            feature = await context.extract_feature(image)
        except (InvalidImageError, InferenceError) as error:
            if len(upload.images) == 1:
                raise
            return image_error(context.request, error)

        def make_entry() -> NewEntry:  # in a thread: the checksum and the thumbnail take a millisecond per MB, and more
            sha256 = hashlib.sha256(data).hexdigest()
            return NewEntry.from_image(sha256, image, labels[number], None, keys[number])

        return feature, await context.run_in_pool(make_entry)

    prepared = await gather_all([prepare(number, data) for number, data in enumerate(upload.images)])
    good = [item for item in prepared if not isinstance(item, ErrorResponse)]
    results = []
    if good:
        features, entries = np.stack([feature for feature, _ in good]), [entry for _, entry in good]
        results = await context.write_index(lambda index: index.add(features, entries))
    remaining = iter(results)
    images = [
        item if isinstance(item, ErrorResponse) else AddedImage.of(next(remaining), context.prefix) for item in prepared
    ]
    return AddImagesResponse(index=await context.read_index(IndexRef.of), images=images)


def _values_per_image(name: str, values: list[str], count: int) -> Sequence[str | None]:
    """One value per image, all None if none were sent. Raises InvalidRequestError."""
    if values and len(values) != count:
        raise InvalidRequestError(f"expected one '{name}' per image ({count}), got {len(values)}")
    return values or [None] * count


@router.get("/images/{image_id}", summary="An indexed image")
async def get_image(context: ContextDep, image_id: ImageId, show_path: ShowPathsDep) -> IndexedImage:
    """The image's label and size, and the URLs of its file, thumbnail and neighbors."""
    entry = await context.run(context.read_index(lambda index: index.entry(image_id)))
    return IndexedImage.of(entry, show_path, context.prefix)


@router.patch(
    "/images/{image_id}", responses=UPDATE_RESPONSES, dependencies=WRITE, summary="Update or restore an image"
)
async def update_image(
    context: ContextDep, image_id: ImageId, update: ImageUpdate, show_path: ShowPathsDep
) -> IndexedImage:
    """`label`: a new label, or null for none. `removed`: false restores a removed image."""
    change = _change_of(update)
    entry = await context.run(context.write_index(lambda index: _update(index, image_id, change)))
    return IndexedImage.of(entry, show_path, context.prefix)


@router.patch("/images", responses=UPDATE_RESPONSES, dependencies=WRITE, summary="Update, remove or restore images")
async def update_images(context: ContextDep, update: BulkUpdate) -> BulkChangeResponse:
    """Change all images in a list of `ids` or `keys`, or all with the label `with_label`, in one commit. `label`: a new
    label, or null for none. `removed`: true removes the images; false restores removed ones, as long as the index
    hasn't been compacted."""
    if [update.ids, update.keys, update.with_label].count(None) != 2:
        raise InvalidRequestError("select the images by exactly one of 'ids', 'keys' and 'with_label'")
    change = _change_of(update)
    return await context.run(_change_many(context, Selection(update.ids, update.with_label, update.keys), change))


def _change_of(update: ImageUpdate | BulkUpdate) -> BulkChange:
    """The change that `update` asks for. Raises InvalidRequestError if it asks for none."""
    change = BulkChange(update.removed, "label" in update.model_fields_set, update.label)
    if change == BulkChange():
        raise InvalidRequestError("no change given: send 'label', 'removed', or both")
    return change


@router.delete("/images", responses=WRITE_RESPONSES, dependencies=WRITE, summary="Remove images")
async def remove_images(context: ContextDep, params: Annotated[SelectionParams, Query()]) -> BulkChangeResponse:
    """Remove all images with these ids or keys, or all with this label, in one commit. Until the index is compacted,
    `PATCH /images` with `"removed": false` restores them. If no image has the label, `changed` is 0."""
    ids, keys, label = params.id or None, params.key or None, params.label
    if [ids, keys, label].count(None) != 2:
        raise InvalidRequestError("select the images by exactly one of 'id', 'key' (once for each image) and 'label'")
    selection = Selection(ids, label, keys)
    return await context.run(_change_many(context, selection, BulkChange(removed=True)))


async def _change_many(context: RequestContext, selection: Selection, change: BulkChange) -> BulkChangeResponse:
    result = await context.write_index(lambda index: index.change_many(selection, change))
    return BulkChangeResponse(
        index=await context.read_index(IndexRef.of),
        changed=len(result.changed),
        unknown_ids=result.unknown_ids,
        unknown_keys=result.unknown_keys,
    )


def _update(index: Index, image_id: int, change: BulkChange) -> Entry:
    """Change an image in one commit. Raises UnknownImageError."""
    index.change_many(Selection([image_id]), change)
    return index.entry(image_id)  # raises where there was nothing to change


@router.delete(
    "/images/{image_id}", responses=WRITE_RESPONSES, dependencies=WRITE, status_code=204, summary="Remove an image"
)
async def remove_image(context: ContextDep, image_id: ImageId) -> None:
    """Searches no longer return the image. Until the index is compacted, `PATCH` with `{"removed": false}`, or adding
    its bytes again, restores it."""
    await context.run(context.write_index(lambda index: index.remove(image_id)))


@router.get(
    "/images/{image_id}/thumbnail",
    responses=merge_responses(file_response("image/jpeg"), CACHED_RESPONSES),
    response_class=Response,
    summary="Thumbnail, a 256 x 256 JPEG",
)
async def get_thumbnail(context: ContextDep, image_id: ImageId, if_none_match: IfNoneMatch = None) -> Response:
    """The center square of the upright image, in full detail."""

    async def make() -> Response:
        data = await context.run(context.read_index(lambda index: index.catalog.thumbnail(image_id)))
        return Response(data, media_type="image/jpeg")

    return await send_cached(context, image_id, if_none_match, make)


@router.get(
    "/images/{image_id}/image",
    responses=merge_responses(file_response("image/*"), CACHED_RESPONSES),
    response_class=Response,
    summary="The original file",
)
async def get_original(context: ContextDep, image_id: ImageId, if_none_match: IfNoneMatch = None) -> Response:
    """The bytes that were indexed, as long as the file is unchanged; an uploaded image has no file."""

    async def make() -> Response:
        work = context.read_file(lambda index: open_original(index, image_id, context.deadline_passed))
        file, image_format = await context.run(work)
        headers, media_type = {"Content-Length": str(os.fstat(file.fileno()).st_size)}, MEDIA_TYPES[image_format]
        if context.request.scope.get("is_head"):
            file.close()
            return Response(media_type=media_type, headers=headers)
        return StreamingResponse(iter_chunks(file), media_type=media_type, headers=headers)

    return await send_cached(context, image_id, if_none_match, make, "-original")
