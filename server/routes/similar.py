"""/similar: the indexed images whose features are nearest (paper, section 6.1)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameter
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from index.protocol import Index
from index.search import MAX_NEIGHBORS, SEARCH_MODE_HELP, Query, SearchMode
from model.exceptions import InvalidRequestError
from server.dependencies import ContextDep, ImageId, UploadDep
from server.request_context import RequestContext
from server.responses import DEADLINE_RESPONSES, INDEX_RESPONSES, UPLOAD_RESPONSES, merge_responses
from server.schemas import ImageInfo, IndexRef, ModelRef, NeighborInfo, SimilarResponse
from server.uploads import OPENAPI_BODY

router = APIRouter(tags=["classification and search"])
NEGATIVE_WEIGHT = 0.5
"""How far a query moves away from its negative examples, as a share of the way between the two (Rocchio)."""

Id = Annotated[int, QueryParameter(ge=1, le=2**63 - 1)]
Ids = list[Id] | None


@dataclass(frozen=True)
class SearchParams:
    """Query parameters of a search."""

    k: Annotated[int, QueryParameter(ge=1, le=MAX_NEIGHBORS, description="Number of neighbors.")] = 6
    offset: Annotated[int, QueryParameter(ge=0, le=10_000_000, description="Neighbors to skip, for pages.")] = 0
    label: Annotated[str | None, QueryParameter(description="Only images with this label.")] = None
    max_distance: Annotated[
        float | None, QueryParameter(ge=0, allow_inf_nan=False, description="None further away.")
    ] = None
    search: Annotated[SearchMode, QueryParameter(description=SEARCH_MODE_HELP)] = "exact"
    id: Annotated[Ids, QueryParameter(max_length=100, description="Indexed images to be similar to.")] = None
    minus: Annotated[Ids, QueryParameter(max_length=100, description="Indexed images to be dissimilar to.")] = None

    def to_query(self, feature: NDArray[np.float32]) -> Query:
        return Query(feature, self.k, self.label, self.offset, self.max_distance, self.search)


SearchParamsDep = Annotated[SearchParams, Depends()]


@router.post(
    "/similar",
    responses=merge_responses(INDEX_RESPONSES, UPLOAD_RESPONSES),
    openapi_extra=OPENAPI_BODY,
    summary="Find images similar to an uploaded one",
)
async def similar(context: ContextDep, upload: UploadDep, params: SearchParamsDep) -> SimilarResponse:
    """The images whose 4096-d features of the last hidden layer have the smallest Euclidean distance.

    Send the image as the multipart field `image`, or as the whole body. An indexed image finds itself first, at
    distance 0. Several images, and indexed ones (`id`), are one query: the mean of their features. `minus` moves it
    away from others.
    """
    index = context.loaded_model.require_index()
    sent = [data for data in upload.images if data or not params.id]

    async def work() -> SimilarResponse:
        images = await asyncio.gather(*[context.decode(data) for data in sent])
        features = await asyncio.gather(*[context.extract_feature(image) for image in images])
        feature = await run_in_threadpool(_combine, index, list(features), params)  # it may read from the disk
        return await _search(
            context, index, params.to_query(feature), ImageInfo.of(images[0]) if len(images) == 1 else None
        )

    return await context.run(work())


@router.get(
    "/images/{image_id}/similar",
    responses=merge_responses(INDEX_RESPONSES, DEADLINE_RESPONSES),
    summary="Find images similar to an indexed one",
)
async def similar_to_indexed(context: ContextDep, image_id: ImageId, params: SearchParamsDep) -> SimilarResponse:
    """As `POST /similar`, from the stored features; the image itself comes first, at distance 0."""
    index = context.loaded_model.require_index()

    async def work() -> SimilarResponse:
        feature = await run_in_threadpool(lambda: _combine(index, [index.feature(image_id)], params))
        return await _search(context, index, params.to_query(feature), None)

    return await context.run(work())


def _combine(index: Index, features: list[NDArray[np.float32]], params: SearchParams) -> NDArray[np.float32]:
    """The (dim,) feature to search for: Rocchio's relevance feedback, clipped at 0 as features are never negative."""
    features = features + [index.feature(image_id) for image_id in params.id or ()]
    if not features:
        raise InvalidRequestError("no image: send an image, or the id of an indexed one")
    positive = features[0] if len(features) == 1 else np.mean(features, axis=0)
    if params.minus:
        negative = np.mean([index.feature(image_id) for image_id in params.minus], axis=0)
        positive = np.maximum(positive + np.float32(NEGATIVE_WEIGHT) * (positive - negative), 0)
    return positive.astype(np.float32)


async def _search(context: RequestContext, index: Index, query: Query, image: ImageInfo | None) -> SimilarResponse:
    neighbors = await context.search(query)
    return SimilarResponse(
        model=ModelRef.of(context.loaded_model.artifact),
        index=IndexRef.of(index),
        image=image,
        neighbors=[NeighborInfo.of(neighbor) for neighbor in neighbors],
    )
