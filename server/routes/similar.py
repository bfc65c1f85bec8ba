"""POST /similar: the indexed images whose features are nearest (paper, section 6.1)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from index.protocol import Index
from index.search import MAX_NEIGHBORS, Neighbor, Search
from model.exceptions import InvalidRequestError
from server.loaded_model import Serving
from server.routes.classify import ERRORS, image_info, model_ref
from server.schemas import CodesRef, ErrorAnswer, ImageInfo, IndexRef, NeighborInfo, SimilarAnswer
from server.timing import phases_of
from server.uploads import OPENAPI_BODY, DeadlineDep, ImageId, ServiceDep, ServingDep, UploadDep, answered

router = APIRouter(tags=["images in, answers out"])
NOT_FOUND: dict[int | str, dict[str, object]] = {
    404: {"model": ErrorAnswer, "description": "No such image or no index."}
}
AWAY = 0.5
"""How far a query moves away from what it is not to be like, as a share of the way between the two."""

Id = Annotated[int, Query(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Wish:
    """What a search asks for beside its images."""

    k: Annotated[int, Query(ge=1, le=MAX_NEIGHBORS, description="How many neighbors.")] = 6
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="How many nearer ones to leave out: pages.")] = 0
    label: Annotated[str | None, Query(description="Of the images with this label only.")] = None
    max_distance: Annotated[float | None, Query(ge=0, allow_inf_nan=False, description="None further away.")] = None
    search: Annotated[Search, Query(description="exact; binary or addresses, where there are codes.")] = "exact"
    id: Annotated[list[Id] | None, Query(max_length=100, description="Indexed images that it is to be like.")] = None
    minus: Annotated[list[Id] | None, Query(max_length=100, description="Those that it is not to be like.")] = None


WishDep = Annotated[Wish, Depends()]


@router.post("/similar", responses=NOT_FOUND | ERRORS, openapi_extra=OPENAPI_BODY, summary="Find images like this one")
async def similar(upload: UploadDep, service: ServiceDep, serving: ServingDep, wish: WishDep) -> SimilarAnswer:
    """The images whose 4096-d features of the last hidden layer are nearest by Euclidean distance.

    Send the image as the multipart field `image`, or as the whole body. An image of the index finds itself first,
    at distance 0. Several images, and indexed ones (`id`), are one query: the mean of their features. `minus` moves
    it away from others.
    """
    serving.require_index()
    sent = [data for data in upload.images if data or not wish.id]

    async def work() -> SimilarAnswer:
        images = await asyncio.gather(*[service.read(data, upload.phases) for data in sent])
        features = await asyncio.gather(
            *[service.feature(serving, image, upload.deadline, upload.phases) for image in images]
        )
        query = await run_in_threadpool(_query, serving, list(features), wish)  # it may wait for the disk
        neighbors = await service.search(serving, query, wish, upload.phases)
        return _answer(serving, neighbors, image_info(images[0]) if len(images) == 1 else None)

    return await upload.answered(work())


@router.get("/images/{image_id}/similar", responses=NOT_FOUND | ERRORS, summary="Find images like an indexed one")
async def similar_to(
    request: Request,
    deadline: DeadlineDep,
    image_id: ImageId,
    service: ServiceDep,
    serving: ServingDep,
    wish: WishDep,
) -> SimilarAnswer:
    """As `POST /similar`, from the stored features; the image itself comes first, at distance 0."""
    index = serving.require_index()

    async def work() -> SimilarAnswer:
        query = await run_in_threadpool(lambda: _query(serving, [index.feature(image_id)], wish))
        return _answer(serving, await service.search(serving, query, wish, phases_of(request.scope)), None)

    return await answered(request, deadline, work())


def index_ref(index: Index) -> IndexRef:
    codes = index.codes
    made_by = None if codes is None else CodesRef(coder=codes.encoder.coder, bits=codes.encoder.bits)
    return IndexRef(size=len(index), codes=made_by)


def _query(serving: Serving, features: list[NDArray[np.float32]], wish: Wish) -> NDArray[np.float32]:
    """The (dim,) feature to search for. Rocchio's feedback, kept where features are: they are never below zero."""
    index = serving.require_index()
    features = features + [index.feature(number) for number in wish.id or ()]
    if not features:
        raise InvalidRequestError("expected an image, or the id of an indexed one, found neither")
    like = features[0] if len(features) == 1 else np.mean(features, axis=0)
    if wish.minus:
        unlike = np.mean([index.feature(number) for number in wish.minus], axis=0)
        like = np.maximum(like + np.float32(AWAY) * (like - unlike), 0)
    return like.astype(np.float32)


def _answer(serving: Serving, neighbors: list[Neighbor], image: ImageInfo | None) -> SimilarAnswer:
    return SimilarAnswer(
        model=model_ref(serving.artifact),
        index=index_ref(serving.require_index()),
        image=image,
        neighbors=[
            NeighborInfo(
                id=neighbor.entry.id,
                distance=neighbor.distance,
                label=neighbor.entry.label,
                url=f"/images/{neighbor.entry.id}",
                thumbnail=f"/images/{neighbor.entry.id}/thumbnail",
            )
            for neighbor in neighbors
        ],
    )
