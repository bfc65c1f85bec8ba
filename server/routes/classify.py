"""POST /classify: the most probable classes of an image, from ten crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends
from numpy.typing import NDArray
from pydantic import Field

from model.artifacts.artifact import Label
from model.images.crops import CROP_IDS
from model.runtime import top_k
from server.dependencies import ContextDep, UploadDep, parameters_of
from server.parameters import Crops, Parameters
from server.request_body.uploads import describe_body
from server.request_context import RequestContext
from server.responses.errors import UPLOAD_RESPONSES
from server.responses.schemas import ClassifyResponse, ErrorResponse, ImageInfo, ModelRef, Prediction
from server.routes.image_answers import answer_each

router = APIRouter(tags=["classification and search"])


class ClassifyParams(Parameters):
    """Parameters of a classification."""

    top: Annotated[int, Field(ge=1, le=1000, description="Number of classes.")] = 5
    crops: Annotated[Crops, Field(description="10: four corners and center, each also flipped. 1: center.")] = (
        Crops.TEN_CROP
    )


@router.post("/classify", responses=UPLOAD_RESPONSES, openapi_extra=describe_body(), summary="Classify images")
async def classify(
    context: ContextDep, upload: UploadDep, params: Annotated[ClassifyParams, Depends(parameters_of(ClassifyParams))]
) -> ClassifyResponse | list[ClassifyResponse | ErrorResponse]:
    """The most probable classes, from the softmax averaged over ten crops (paper, section 4.1), and how familiar the
    image is.

    Send the image as the multipart field `image`, as the whole body, or in JSON as base64 or a data URL. For several
    images, the response is a list in the same order, in which an image that can't be decoded has its own error.
    """
    crop_ids = CROP_IDS[params.crops]
    return await answer_each(context, upload.images, lambda data: _classify_image(context, data, params.top, crop_ids))


async def _classify_image(context: RequestContext, data: bytes, top: int, crops: tuple[int, ...]) -> ClassifyResponse:
    image = await context.decode(data)
    result = await context.infer(image.pixels[None], crops)
    assert result.probabilities is not None
    loaded_model = context.loaded_model
    known = loaded_model.familiarity
    familiarity, familiar = (None, None) if known is None else known.judge(result.features[0], len(crops))
    return ClassifyResponse(
        model=ModelRef.of(loaded_model.artifact),
        image=ImageInfo.of(image),
        predictions=_top_predictions(result.probabilities[0], top, loaded_model.artifact.labels),
        familiarity=familiarity,
        familiar=familiar,
    )


def _top_predictions(probabilities: NDArray[np.float32], top: int, labels: Sequence[Label]) -> list[Prediction]:
    return [
        Prediction(
            index=int(number),
            id=labels[number].id,
            name=labels[number].name,
            probability=min(1.0, float(probabilities[number])),
        )
        for number in top_k(probabilities, top)
    ]
