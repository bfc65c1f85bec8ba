"""POST /classify: five classes of a picture, from ten views."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact, Label
from model.exceptions import InvalidPictureError
from model.images.crops import CENTRE, TEN
from model.images.preprocess import Picture
from server.error_handlers import error_answer
from server.schemas import ClassifyAnswer, ErrorAnswer, ImageInfo, ModelRef, Prediction
from server.uploads import OPENAPI_BODY, ServiceDep, ServingDep, UploadDep
from server.workers.inference import BrokenInferenceError

router = APIRouter(tags=["pictures in, answers out"])

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        408: "The body didn't come in time.",
        413: "The body or the picture is too large.",
        415: "The bytes are no picture that is read here.",
        422: "The picture is broken, or a parameter is out of range.",
        503: "Too much work at once; `Retry-After` says when to come back.",
        504: "The time of `X-Request-Timeout`, or the server's own limit, was over.",
    }.items()
}


class Views(IntEnum):
    """How many views of a picture are averaged."""

    CENTRE = 1
    TEN = 10


@router.post("/classify", responses=ERRORS, openapi_extra=OPENAPI_BODY, summary="Name a picture, or several")
async def classify(
    upload: UploadDep,
    service: ServiceDep,
    serving: ServingDep,
    top: Annotated[int, Query(ge=1, le=1000, description="How many classes.")] = 5,
    views: Annotated[Views, Query(description="10: corners, centre, mirrors, averaged. 1: centre.")] = Views.TEN,
) -> ClassifyAnswer | list[ClassifyAnswer | ErrorAnswer]:
    """The most probable classes: the mean of the softmax over ten views (paper, section 4.1).

    Send the picture as the multipart field `image`, or as the whole body. Several fields `image` are answered with a
    list in their order, in which a picture that can't be read has an error of its own.
    """

    async def one(data: bytes) -> ClassifyAnswer:
        picture = await service.read(data, upload.phases)
        chosen = TEN if views == Views.TEN else CENTRE
        answer = await service.infer(serving, picture.pixels[None], chosen, upload.deadline, upload.phases)
        assert answer.probabilities is not None
        return ClassifyAnswer(
            model=model_ref(serving.artifact),
            image=image_info(picture),
            predictions=_predictions(answer.probabilities[0], top, serving.artifact.labels),
        )

    async def or_error(data: bytes) -> ClassifyAnswer | ErrorAnswer:
        try:
            return await one(data)
        except (InvalidPictureError, BrokenInferenceError) as error:
            return error_answer(upload.request, error)

    if len(upload.pictures) == 1:
        return await upload.answered(one(upload.picture))
    return await upload.answered(asyncio.gather(*[or_error(data) for data in upload.pictures]))


def _predictions(probabilities: NDArray[np.float32], top: int, labels: Sequence[Label]) -> list[Prediction]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        Prediction.model_validate(
            {
                "class": int(position),
                "id": labels[position].id,
                "name": labels[position].name,
                "probability": min(1.0, float(probabilities[position])),
            }
        )
        for position in order
    ]


def model_ref(artifact: Artifact) -> ModelRef:
    return ModelRef(name=artifact.manifest.name, version=artifact.manifest.version)


def image_info(picture: Picture) -> ImageInfo:
    return ImageInfo(
        format=picture.format,
        width=picture.width,
        height=picture.height,
        mode=picture.mode,
        orientation=picture.orientation,
        frames_ignored=picture.frames_ignored,
    )
