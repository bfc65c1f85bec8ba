"""The images of the index: listed, looked at, added, labeled, removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from index.build import new_entry
from index.catalog import Entry, NewEntry
from index.protocol import Index
from index.write_batch import AddResult
from model.exceptions import InvalidImageError, InvalidRequestError, UnknownImageError
from server.error_handlers import error_answer
from server.routes.classify import ERRORS
from server.routes.similar import NOT_FOUND, index_ref
from server.schemas import (
    AddAnswer,
    AddedImage,
    ErrorAnswer,
    ImageChange,
    ImageList,
    IndexedImage,
    LabelCount,
    Labels,
)
from server.uploads import (
    OPENAPI_BODY,
    DeadlineDep,
    ImageId,
    ServiceDep,
    ServingDep,
    Upload,
    UploadDep,
    answered,
    require_write,
)
from server.workers.inference import BrokenInferenceError

router = APIRouter(tags=["the index"], responses=NOT_FOUND)
PART = 65_536
"""Bytes of a file that are sent at once."""
IMMUTABLE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
WRITING: dict[int | str, dict[str, object]] = {
    409: {"model": ErrorAnswer, "description": "The index is open for reading: another process changes it."},
    507: {"model": ErrorAnswer, "description": "The disk is full; nothing was changed."},
}
WRITE = [Depends(require_write)]


@router.get("/labels", summary="The labels of the index")
def labels(serving: ServingDep) -> Labels:
    """With the number of images of each, in the order of the alphabet."""
    counts = sorted(serving.require_index().labels().items())
    return Labels(labels=[LabelCount(label=label, images=count) for label, count in counts])


@router.get("/images", summary="Indexed images, page by page")
def listing(
    serving: ServingDep,
    label: Annotated[str | None, Query(description="Only those with this label.")] = None,
    cursor: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ImageList:
    """By id. `next` is there while there are more: it is the `cursor` of the next page."""
    index = serving.require_index()
    found = index.catalog.page(cursor, limit + 1, label)
    page = found[:limit]
    return ImageList(
        index=index_ref(index),
        images=[image_info(entry) for entry in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.post(
    "/images",
    responses=ERRORS | WRITING,
    openapi_extra=OPENAPI_BODY,
    dependencies=WRITE,
    summary="Add an image, or several",
)
async def add(upload: UploadDep, service: ServiceDep, serving: ServingDep) -> AddAnswer:
    """Fields `image`; `label`, one for all or one each; `key`, a name of your own for each.

    The same bytes are the same image: `exists` says that it was there, `restored` that it had been removed. What is
    answered is on the disk. An image that can't be read has an error in its place; the others are added.
    """
    index = serving.require_index()
    wanted, keys = _each(upload, "label"), _each(upload, "key")

    async def one(place: int, data: bytes) -> tuple[NDArray[np.float32], NewEntry] | ErrorAnswer:
        try:
            image = await service.read(data, upload.phases)
            feature = await service.feature(serving, image, upload.deadline, upload.phases)
        except (InvalidImageError, BrokenInferenceError) as error:
            if len(upload.images) == 1:
                raise
            return error_answer(upload.request, error)
        return feature, new_entry(data, image, wanted[place], None, keys[place])

    async def work() -> AddAnswer:
        read = await asyncio.gather(*[one(place, data) for place, data in enumerate(upload.images)])
        good = [result for result in read if not isinstance(result, ErrorAnswer)]
        added = []
        if good:
            features = np.stack([feature for feature, _ in good])
            added = await service.in_thread(lambda: index.add(features, [entry for _, entry in good]))
        following = iter(added)
        images = [result if isinstance(result, ErrorAnswer) else _added(next(following)) for result in read]
        return AddAnswer(index=index_ref(index), images=images)

    return await upload.answered(work())


@router.get("/images/{image_id}", summary="An indexed image")
def get_image(image_id: ImageId, serving: ServingDep) -> IndexedImage:
    """Its label, size and the addresses of its file, thumbnail and neighbors."""
    return image_info(serving.require_index().entry(image_id))


@router.patch("/images/{image_id}", responses=WRITING, dependencies=WRITE, summary="Change a label, undo a removal")
def change(image_id: ImageId, serving: ServingDep, change: ImageChange) -> IndexedImage:
    """`label`: another one, or null for none. `removed`: false brings a removed image back."""
    index = serving.require_index()
    if change.removed is False:
        index.restore(image_id)
    if "label" in change.model_fields_set:
        index.relabel(image_id, change.label)
    return image_info(index.entry(image_id))


@router.delete("/images/{image_id}", responses=WRITING, dependencies=WRITE, status_code=204, summary="Remove an image")
def remove(image_id: ImageId, serving: ServingDep) -> None:
    """It isn't found any more. `PATCH` with `{"removed": false}`, or its bytes again, bring it back until the index is
    compacted."""
    serving.require_index().remove(image_id)


@router.get("/images/{image_id}/thumbnail", summary="128 x 128 JPEG", response_class=Response)
def thumbnail(image_id: ImageId, serving: ServingDep) -> Response:
    """The central square as the network saw it, small."""
    data = serving.require_index().catalog.thumbnail(image_id)
    return Response(data, media_type="image/jpeg", headers=IMMUTABLE)


@router.get("/images/{image_id}/image", summary="The original file", response_class=Response)
async def image(request: Request, deadline: DeadlineDep, image_id: ImageId, serving: ServingDep) -> Response:
    """The bytes that were indexed, as long as they are still where they were; an image that was sent has none."""
    found = run_in_threadpool(original, serving.require_index(), image_id)
    file, kind = await answered(request, deadline, found)
    headers = IMMUTABLE | {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(_parts(file), media_type=f"image/{kind.lower()}", headers=headers)


def image_info(entry: Entry) -> IndexedImage:
    url = f"/images/{entry.id}"
    return IndexedImage(
        id=entry.id, key=entry.key, label=entry.label, format=entry.format, width=entry.width, height=entry.height,
        image=f"{url}/image" if entry.source else None, thumbnail=f"{url}/thumbnail", similar=f"{url}/similar",
    )  # fmt: skip


def _added(result: AddResult) -> AddedImage:
    return AddedImage(id=result.id, status=result.status, url=f"/images/{result.id}")


def _each(upload: Upload, field: str) -> list[str | None]:
    """A form field for each image. Raises InvalidRequestError."""
    values, count = upload.fields.get(field, []), len(upload.images)
    if field == "label" and len(values) == 1:
        values = values * count
    if values and len(values) != count:
        raise InvalidRequestError(f"expected a {field} for each of {count} images, found {len(values)}")
    if any(not value or len(value) > 200 for value in values):
        raise InvalidRequestError(f"expected from 1 to 200 characters in {field}, found fewer or more")
    return list(values) or [None] * count


def original(index: Index, image_id: int) -> tuple[BinaryIO, str]:
    """The file that was indexed, at its beginning, and its format. Raises UnknownImageError where it is gone or
    changed."""
    entry = index.entry(image_id)
    with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
        if entry.source is not None and entry.source.is_file():  # an index may come from others: no device, no pipe
            file = opened.enter_context(entry.source.open("rb"))
            if hashlib.file_digest(file, "sha256").hexdigest() == index.catalog.sha256(image_id):
                file.seek(0)
                opened.pop_all()
                return file, entry.format
    raise UnknownImageError(f"expected the file of image {image_id} as it was indexed, found it gone or changed")


def _parts(file: BinaryIO) -> Iterator[bytes]:
    """A large file isn't kept in memory for a client that is slow to take it."""
    with file:
        while part := file.read(PART):
            yield part
