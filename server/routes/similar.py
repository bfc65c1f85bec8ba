"""/similar: the indexed images whose features are nearest (paper, section 6.1)."""

from __future__ import annotations

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query
from numpy.typing import NDArray
from pydantic import Field

from index.protocol import Index
from index.search import MAX_NEIGHBORS, SEARCH_MODE_HELP, SearchMode
from index.search import Query as SearchQuery
from model.exceptions import InvalidRequestError
from server.dependencies import ContextDep, ImageId, OptionalUploadDep, parameters_of
from server.parameters import Parameters
from server.request_context import RequestContext
from server.responses import ADMITTED_RESPONSES, INDEX_RESPONSES, UPLOAD_RESPONSES, merge_responses
from server.schemas import ImageInfo, IndexRef, ModelRef, NeighborInfo, SimilarResponse
from server.uploads import OPENAPI_BODY

router = APIRouter(tags=["classification and search"])
NEGATIVE_WEIGHT = 0.5
"""How far a query moves away from its negative examples, as a share of the way between the two (Rocchio)."""

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Ids = list[Id] | None


class SearchParams(Parameters):
    """Parameters of a search."""

    k: Annotated[int, Field(ge=1, le=MAX_NEIGHBORS, description="Number of neighbors.")] = 6
    offset: Annotated[int, Field(ge=0, le=10_000_000, description="Neighbors to skip, for pages.")] = 0
    label: Annotated[str | None, Field(description="Only images with this label.")] = None
    max_distance: Annotated[float | None, Field(ge=0, allow_inf_nan=False, description="None further away.")] = None
    search: Annotated[SearchMode, Field(description=SEARCH_MODE_HELP)] = "exact"
    id: Annotated[Ids, Field(max_length=100, description="Indexed images to be similar to.")] = None
    minus: Annotated[Ids, Field(max_length=100, description="Indexed images to be dissimilar to.")] = None

    def to_query(self, feature: NDArray[np.float32]) -> SearchQuery:
        return SearchQuery(feature, self.k, self.label, self.offset, self.max_distance, self.search)


UploadParamsDep = Annotated[SearchParams, Depends(parameters_of(SearchParams))]


@router.post(
    "/similar",
    responses=merge_responses(INDEX_RESPONSES, UPLOAD_RESPONSES),
    openapi_extra=OPENAPI_BODY,
    summary="Find images similar to an uploaded one",
)
async def similar(context: ContextDep, upload: OptionalUploadDep, params: UploadParamsDep) -> SimilarResponse:
    """The images whose 4096-d features of the last hidden layer have the smallest Euclidean distance.

    Send the image as the multipart field `image`, as the whole body, or in JSON as base64 or a data URL. An indexed
    image finds itself first, at distance 0. Several images, and indexed ones (`id`), are one query: the mean of their
    features. `minus` moves it away from others.
    """
    index = context.loaded_model.require_index()
    if not params.id:
        upload.require_images()

    async def work() -> SimilarResponse:
        images = await asyncio.gather(*[context.decode(data) for data in upload.images])
        features = await asyncio.gather(*[context.extract_feature(image) for image in images])
        feature = await context.read_index(lambda index: _combine(index, list(features), params))
        return await _search(
            context, index, params.to_query(feature), ImageInfo.of(images[0]) if len(images) == 1 else None
        )

    return await context.run(work())


@router.get(
    "/images/{image_id}/similar",
    responses=merge_responses(INDEX_RESPONSES, ADMITTED_RESPONSES),
    summary="Find images similar to an indexed one",
)
async def similar_to_indexed(
    context: ContextDep, image_id: ImageId, params: Annotated[SearchParams, Query()]
) -> SimilarResponse:
    """As `POST /similar`, from the stored features; the image itself comes first, at distance 0."""
    index = context.loaded_model.require_index()

    async def work() -> SimilarResponse:
        feature = await context.read_index(lambda index: _combine(index, [index.feature(image_id)], params))
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


async def _search(
    context: RequestContext, index: Index, query: SearchQuery, image: ImageInfo | None
) -> SimilarResponse:
    neighbors = await context.search(query)
    return SimilarResponse(
        model=ModelRef.of(context.loaded_model.artifact),
        index=IndexRef.of(index),
        image=image,
        neighbors=[NeighborInfo.of(neighbor) for neighbor in neighbors],
    )
