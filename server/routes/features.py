"""POST /features: the activations of the last hidden layer, by which the index compares images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from model.images.crops import CROP_IDS
from server.dependencies import ContextDep, UploadDep, parameters_of
from server.parameters import Crops, Parameters
from server.request_body.uploads import describe_body
from server.request_context import RequestContext
from server.responses.openapi import UPLOAD_RESPONSES
from server.responses.schemas import ErrorResponse, FeaturesResponse, ImageInfo, ModelRef
from server.routes.image_answers import answer_each

router = APIRouter(tags=["classification and search"])


class FeaturesParams(Parameters):
    """Parameters of a request for features."""

    crops: Annotated[
        Crops, Field(description="1: center, as in the index. 10: four corners and center, each also flipped.")
    ] = Crops.CENTER_CROP


@router.post("/features", responses=UPLOAD_RESPONSES, openapi_extra=describe_body(), summary="Features of images")
async def features(
    context: ContextDep, upload: UploadDep, params: Annotated[FeaturesParams, Depends(parameters_of(FeaturesParams))]
) -> FeaturesResponse | list[FeaturesResponse | ErrorResponse]:
    """The activations of the last hidden layer, averaged over the crops. The Euclidean distance between two images'
    features says how similar the images are (paper, section 6.1), if the same version of the model computed both.

    Send images as for `POST /classify`.
    """
    crop_ids = CROP_IDS[params.crops]
    return await answer_each(context, upload.images, lambda data: _features_of_image(context, data, crop_ids))


async def _features_of_image(context: RequestContext, data: bytes, crops: tuple[int, ...]) -> FeaturesResponse:
    image = await context.decode(data)
    result = await context.infer(image.pixels[None], crops, classify=False)
    return FeaturesResponse(
        model=ModelRef.of(context.loaded_model.artifact),
        image=ImageInfo.of(image),
        features=result.features[0].tolist(),
    )
