"""/similar: the indexed images whose features are nearest (paper, section 6.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query
from numpy.typing import NDArray
from pydantic import Field

from index.protocol import Index, ids_of_keys
from index.search import MAX_PAGE_SIZE, SEARCH_MODE_HELP, Position, SearchMode
from index.search import Query as SearchQuery
from model.exceptions import InvalidImageError, InvalidRequestError
from model.images.info import DecodedImage
from server.dependencies import ContextDep, ImageId, OptionalUploadDep, ShowPathsDep, parameters_of
from server.limits.deadlines import gather_all
from server.parameters import LookupLabel, Parameters, StoredId, StoredText
from server.request_body.uploads import describe_body
from server.request_context import RequestContext
from server.responses.openapi import ADMITTED_RESPONSES, INDEX_RESPONSES, UPLOAD_RESPONSES, merge_responses
from server.responses.schemas import ImageInfo, IndexRef, ModelRef, NeighborInfo, SimilarResponse
from server.routes.search_cursor import decode_cursor, encode_cursor, query_fingerprint

router = APIRouter(tags=["classification and search"])
NEGATIVE_WEIGHT = 0.5
"""How far a query moves away from its negative examples, as a share of the distance between the two (Rocchio)."""

Ids = list[StoredId] | None
Keys = list[StoredText] | None


class SearchParams(Parameters):
    """Parameters of a search."""

    k: Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE, description="Number of neighbors.")] = 6
    cursor: Annotated[
        str | None, Field(max_length=64, description="`next_cursor` of the previous page of the same query.")
    ] = None
    label: Annotated[LookupLabel | None, Field(description="Only images with this label.")] = None
    max_distance: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False, description="Maximum distance of a neighbor.")
    ] = None
    search: Annotated[SearchMode, Field(description=SEARCH_MODE_HELP)] = "exact"
    id: Annotated[Ids, Field(max_length=100, description="Ids of indexed images as positive examples.")] = None
    key: Annotated[Keys, Field(max_length=100, description="Keys of indexed images as positive examples.")] = None
    minus: Annotated[Ids, Field(max_length=100, description="Ids of indexed images as negative examples.")] = None
    minus_key: Annotated[Keys, Field(max_length=100, description="Keys of indexed images as negative examples.")] = None


UploadParamsDep = Annotated[SearchParams, Depends(parameters_of(SearchParams))]


@dataclass(frozen=True)
class _Page:
    """Parameters of a search, the fingerprint of their query, and where the page begins."""

    params: SearchParams
    fingerprint: bytes
    after: Position | None

    @classmethod
    def of(cls, context: RequestContext, params: SearchParams, *images: str | int) -> _Page:
        """`images`: checksums of the uploaded images, or the id of the indexed one. Raises InvalidRequestError for
        another query's cursor."""
        own = sorted(params.model_dump(exclude={"k", "cursor"}).items())
        fingerprint = query_fingerprint([context.loaded_model.artifact.network_sha256, images, own])
        after = None if params.cursor is None else decode_cursor(params.cursor, fingerprint)
        return cls(params, fingerprint, after)

    def to_query(self, feature: NDArray[np.float32]) -> SearchQuery:
        params = self.params
        return SearchQuery(feature, params.k, params.label, self.after, params.max_distance, params.search)


@router.post(
    "/similar",
    responses=merge_responses(INDEX_RESPONSES, UPLOAD_RESPONSES),
    openapi_extra=describe_body(required=False),
    summary="Find images similar to an uploaded one",
)
async def similar(
    context: ContextDep, upload: OptionalUploadDep, params: UploadParamsDep, show_path: ShowPathsDep
) -> SimilarResponse:
    """The indexed images whose 4096-d features of the last hidden layer have the smallest Euclidean distance from the
    query's.

    Send the image as the multipart field `image`, as the whole body, or in JSON as base64 or a data URL. An indexed
    image finds itself first, at distance 0. Several images, including indexed ones (`id`, `key`), form one query: the
    mean of their features. `minus` and `minus_key` move the query away from other images. For the next page, send the
    same request with `cursor`.
    """
    context.loaded_model.require_index()
    if not params.id and not params.key:
        upload.require_images()
    hash_images = context.run_in_pool(lambda: [hashlib.sha256(data).hexdigest() for data in upload.images])
    checksums = await context.run(hash_images)
    page = _Page.of(context, params, *checksums)

    async def work() -> SimilarResponse:
        images = await _decode_all(context, upload.images)
        features = await gather_all([context.extract_feature(image) for image in images])
        feature = await context.read_index(lambda index: _combine(index, list(features), params))
        image = ImageInfo.of(images[0]) if len(images) == 1 else None
        return await _search(context, page, feature, image, show_path)

    return await context.run(work())


@router.get(
    "/images/{image_id}/similar",
    responses=merge_responses(INDEX_RESPONSES, ADMITTED_RESPONSES),
    summary="Find images similar to an indexed one",
)
async def similar_to_indexed(
    context: ContextDep, image_id: ImageId, params: Annotated[SearchParams, Query()], show_path: ShowPathsDep
) -> SimilarResponse:
    """Like `POST /similar`, but from the stored features; the image itself comes first, at distance 0."""
    context.loaded_model.require_index()
    page = _Page.of(context, params, image_id)

    async def work() -> SimilarResponse:
        feature = await context.read_index(lambda index: _combine(index, [index.feature(image_id)], params))
        return await _search(context, page, feature, None, show_path)

    return await context.run(work())


async def _decode_all(context: RequestContext, images: Sequence[bytes]) -> list[DecodedImage]:
    """The decoded images of one query. If there are several, an error says which one it is about."""

    async def decode(number: int, data: bytes) -> DecodedImage:
        try:
            return await context.decode(data)
        except InvalidImageError as error:
            if len(images) == 1:
                raise
            raise type(error)(f"image {number} of {len(images)}: {error}") from error

    return await gather_all([decode(number, data) for number, data in enumerate(images, 1)])


def _combine(index: Index, features: list[NDArray[np.float32]], params: SearchParams) -> NDArray[np.float32]:
    """The (dim,) feature to search for: the mean of the positive ones, moved away from the negative ones."""
    features = [*features, *_indexed_features(index, params.id, params.key)]
    if not features:
        raise InvalidRequestError("no image: send an image, or the id or key of an indexed one")
    positive = features[0] if len(features) == 1 else np.mean(features, axis=0)
    if params.minus or params.minus_key:
        negative = np.mean(_indexed_features(index, params.minus, params.minus_key), axis=0)
        positive = apply_negative_feedback(positive, negative)
    return positive.astype(np.float32)


def _indexed_features(index: Index, ids: Ids, keys: Keys) -> NDArray[np.float32]:
    """The (N, dim) features of the images with these ids, then with these keys. Raises UnknownImageError."""
    return index.features([*(ids or ()), *ids_of_keys(index, keys or ())])


def apply_negative_feedback(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rocchio's relevance feedback, from two (dim,) features.

    If neither has negative numbers, as after ReLU, the result has none either; after tanh, it may.
    """
    result = positive + np.float32(NEGATIVE_WEIGHT) * (positive - negative)
    return np.maximum(result, 0) if min(positive.min(), negative.min()) >= 0 else result


async def _search(
    context: RequestContext, page: _Page, feature: NDArray[np.float32], image: ImageInfo | None, show_path: bool
) -> SimilarResponse:
    result = await context.search(page.to_query(feature))
    length = float(np.linalg.norm(feature.astype(np.float64)))
    return SimilarResponse(
        model=ModelRef.of(context.loaded_model.artifact),
        index=IndexRef.of(context.loaded_model.require_index(), result.index_size),
        image=image,
        neighbors=[NeighborInfo.of(neighbor, length, show_path, context.prefix) for neighbor in result.neighbors],
        total=result.total,
        has_more=result.last is not None,
        next_cursor=None if result.last is None else encode_cursor(page.fingerprint, result.last),
    )
