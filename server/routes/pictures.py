"""GET of an indexed picture: what is known of it, its thumbnail, its file."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from index.store import PictureIndex
from model.errors import UnknownPictureError
from server.routes.similar import NOT_FOUND
from server.schemas import PictureInfo
from server.upload import PictureId, ServingDep

router = APIRouter(prefix="/pictures", tags=["the index"], responses=NOT_FOUND)
IMMUTABLE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


@router.get("/{picture_id}", summary="An indexed picture")
def picture(picture_id: PictureId, serving: ServingDep) -> PictureInfo:
    """Its label, size and the addresses of its file, thumbnail and neighbours."""
    entry = serving.require_index().entry(picture_id)
    url = f"/pictures/{picture_id}"
    return PictureInfo(
        id=entry.id,
        label=entry.label,
        format=entry.format,
        width=entry.width,
        height=entry.height,
        image=f"{url}/image",
        thumbnail=f"{url}/thumbnail",
        similar=f"{url}/similar",
    )


@router.get("/{picture_id}/thumbnail", summary="128 x 128 JPEG", response_class=Response)
def thumbnail(picture_id: PictureId, serving: ServingDep) -> Response:
    """The central square as the network saw it, small."""
    index = serving.require_index()
    index.entry(picture_id)
    return Response(index.catalog.thumbnail(picture_id), media_type="image/jpeg", headers=IMMUTABLE)


@router.get("/{picture_id}/image", summary="The original file", response_class=Response)
async def image(picture_id: PictureId, serving: ServingDep) -> Response:
    """The bytes that were indexed, as long as they are still where they were."""
    data, kind = await run_in_threadpool(_original, serving.require_index(), picture_id)
    return Response(data, media_type=f"image/{kind.lower()}", headers=IMMUTABLE)


def _original(index: PictureIndex, picture_id: int) -> tuple[bytes, str]:
    entry = index.entry(picture_id)
    try:
        data = entry.source.read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != index.catalog.sha256(picture_id):
        raise UnknownPictureError(
            f"expected the file of picture {picture_id} as it was indexed, found it gone or changed"
        )
    return data, entry.format
