"""POST /classify: five classes of an image, from ten crops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact, Label
from model.exceptions import InvalidImageError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import DecodedImage
from server.error_handlers import error_answer
from server.schemas import ClassifyAnswer, ErrorAnswer, ImageInfo, ModelRef, Prediction
from server.uploads import OPENAPI_BODY, ServiceDep, ServingDep, UploadDep
from server.workers.inference import BrokenInferenceError

router = APIRouter(tags=["images in, answers out"])

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        408: "The body didn't come in time.",
        413: "The body or the image is too large.",
        415: "The bytes are no image that is read here.",
        422: "The image is broken, or a parameter is out of range.",
        503: "Too much work at once; `Retry-After` says when to come back.",
        504: "The time of `X-Request-Timeout`, or the server's own limit, was over.",
    }.items()
}


class Crops(IntEnum):
    """How many crops of an image are averaged."""

    CENTER_CROP = 1
    TEN_CROP = 10


@router.post("/classify", responses=ERRORS, openapi_extra=OPENAPI_BODY, summary="Name an image, or several")
async def classify(
    upload: UploadDep,
    service: ServiceDep,
    serving: ServingDep,
    top: Annotated[int, Query(ge=1, le=1000, description="How many classes.")] = 5,
    crops: Annotated[Crops, Query(description="10: corners, center, mirrors, averaged. 1: center.")] = Crops.TEN_CROP,
) -> ClassifyAnswer | list[ClassifyAnswer | ErrorAnswer]:
    """The most probable classes: the mean of the softmax over ten crops (paper, section 4.1).

    Send the image as the multipart field `image`, or as the whole body. Several fields `image` are answered with a
    list in their order, in which an image that can't be read has an error of its own.
    """

    async def one(data: bytes) -> ClassifyAnswer:
        image = await service.read(data, upload.phases)
        chosen = TEN_CROP if crops == Crops.TEN_CROP else CENTER_CROP
        answer = await service.infer(serving, image.pixels[None], chosen, upload.deadline, upload.phases)
        assert answer.probabilities is not None
        return ClassifyAnswer(
            model=model_ref(serving.artifact),
            image=image_info(image),
            predictions=_predictions(answer.probabilities[0], top, serving.artifact.labels),
        )

    async def or_error(data: bytes) -> ClassifyAnswer | ErrorAnswer:
        try:
            return await one(data)
        except (InvalidImageError, BrokenInferenceError) as error:
            return error_answer(upload.request, error)

    if len(upload.images) == 1:
        return await upload.answered(one(upload.image))
    return await upload.answered(asyncio.gather(*[or_error(data) for data in upload.images]))


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


def image_info(image: DecodedImage) -> ImageInfo:
    return ImageInfo(
        format=image.format,
        width=image.width,
        height=image.height,
        mode=image.mode,
        orientation=image.orientation,
        frames_ignored=image.frames_ignored,
    )
