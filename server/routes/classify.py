"""POST /classify: five classes of a picture, from ten views."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from model.artifact import Artifact
from model.preprocess import Picture
from model.views import CENTRE, TEN
from server.schemas import ClassifyAnswer, ErrorAnswer, ImageInfo, ModelRef, Prediction
from server.upload import OPENAPI_BODY, ImageBytes, ServiceDep

router = APIRouter(tags=["pictures in, answers out"])

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        408: "The body didn't come in time.",
        413: "The body or the picture is too large.",
        415: "The bytes are no picture that is read here.",
        422: "The picture is broken, or a parameter is out of range.",
        503: "Too many requests at once; `Retry-After` says when to come back.",
    }.items()
}


class Views(IntEnum):
    """How many views of a picture are averaged."""

    CENTRE = 1
    TEN = 10


@router.post("/classify", responses=ERRORS, openapi_extra=OPENAPI_BODY, summary="Name a picture")
async def classify(
    data: ImageBytes,
    service: ServiceDep,
    top: Annotated[int, Query(ge=1, le=1000, description="How many classes.")] = 5,
    views: Annotated[Views, Query(description="10: corners, centre, mirrors, averaged. 1: centre.")] = Views.TEN,
) -> ClassifyAnswer:
    """The most probable classes: the mean of the softmax over ten views (paper, section 4.1).

    Send the picture as the multipart field `image`, or as the whole body.
    """
    picture = await service.read(data)
    probabilities = await service.classify(picture, TEN if views == Views.TEN else CENTRE)
    order = np.argsort(-probabilities, kind="stable")[:top]
    labels = service.artifact.labels
    return ClassifyAnswer(
        model=model_ref(service.artifact),
        image=image_info(picture),
        predictions=[
            Prediction.model_validate(
                {
                    "class": int(position),
                    "id": labels[position].id,
                    "name": labels[position].name,
                    "probability": min(1.0, float(probabilities[position])),
                }
            )
            for position in order
        ],
    )


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
