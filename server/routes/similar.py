"""POST /similar: the indexed pictures whose features are nearest (paper, section 6.1)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from index.store import MAX_NEIGHBOURS, Neighbour
from server.routes.classify import ERRORS, image_info, model_ref
from server.schemas import ErrorAnswer, ImageInfo, IndexRef, NeighbourInfo, SimilarAnswer
from server.serving import Serving
from server.timing import phases_of
from server.upload import OPENAPI_BODY, PictureId, ServiceDep, ServingDep, UploadDep

router = APIRouter(tags=["pictures in, answers out"])
K = Annotated[int, Query(ge=1, le=MAX_NEIGHBOURS, description="How many neighbours.")]
NOT_FOUND: dict[int | str, dict[str, object]] = {
    404: {"model": ErrorAnswer, "description": "No such picture or no index."}
}


@router.post(
    "/similar", responses=NOT_FOUND | ERRORS, openapi_extra=OPENAPI_BODY, summary="Find pictures like this one"
)
async def similar(upload: UploadDep, service: ServiceDep, serving: ServingDep, k: K = 6) -> SimilarAnswer:
    """The pictures whose 4096-d features of the last hidden layer are nearest by Euclidean distance.

    Send the picture as the multipart field `image`, or as the whole body. A picture of the index finds itself first,
    at distance 0.
    """
    serving.require_index()

    async def work() -> SimilarAnswer:
        picture = await service.read(upload.picture, upload.phases)
        neighbours = await service.similar(serving, picture, k, upload.deadline, upload.phases)
        return _answer(serving, neighbours, image_info(picture))

    return await upload.answered(work())


@router.get("/pictures/{picture_id}/similar", responses=NOT_FOUND | ERRORS, summary="Find pictures like an indexed one")
async def similar_to(
    request: Request, picture_id: PictureId, service: ServiceDep, serving: ServingDep, k: K = 6
) -> SimilarAnswer:
    """As `POST /similar`, from the stored features; the picture itself comes first, at distance 0."""
    with service.admission.request():
        return _answer(serving, await service.similar_to(serving, picture_id, k, phases_of(request.scope)), None)


def _answer(serving: Serving, neighbours: list[Neighbour], image: ImageInfo | None) -> SimilarAnswer:
    return SimilarAnswer(
        model=model_ref(serving.artifact),
        index=IndexRef(size=len(serving.require_index())),
        image=image,
        neighbours=[
            NeighbourInfo(
                id=neighbour.entry.id,
                distance=neighbour.distance,
                label=neighbour.entry.label,
                url=f"/pictures/{neighbour.entry.id}",
                thumbnail=f"/pictures/{neighbour.entry.id}/thumbnail",
            )
            for neighbour in neighbours
        ],
    )
