"""POST /classify: the most probable classes of an image, from ten crops."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from model.classification import to_classification
from model.images.crops import CROP_IDS
from server.dependencies import ContextDep, UploadDep, parameters_of
from server.parameters import Crops, Parameters
from server.request_body.uploads import describe_body
from server.request_context import RequestContext
from server.responses.openapi import UPLOAD_RESPONSES
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
    classification = to_classification(
        loaded_model.artifact.labels,
        image,
        result.probabilities[0],
        result.features[0],
        loaded_model.familiarity,
        top,
        len(crops),
    )
    return ClassifyResponse(
        model=ModelRef.of(loaded_model.artifact),
        image=ImageInfo.of(image),
        predictions=[Prediction(**asdict(prediction)) for prediction in classification.predictions],
        familiarity=classification.familiarity,
        familiar=classification.familiar,
    )
