"""The served network: Figure 3's kernels, and its training history."""

from __future__ import annotations

from fastapi import APIRouter, Response

from model.artifacts.kernels import draw_sheet
from server.dependencies import ContextDep
from server.exceptions import NoKernelsError
from server.responses.openapi import ADMITTED_RESPONSES, file_response, merge_responses, responses_for
from server.responses.png import png_response
from server.responses.schemas import ClassRef, HistoryResponse

router = APIRouter(tags=["operation"])


@router.get(
    "/kernels",
    response_class=Response,
    responses=merge_responses(file_response("image/png"), responses_for(NoKernelsError), ADMITTED_RESPONSES),
    summary="Kernels of the first layer",
)
async def get_kernels(context: ContextDep) -> Response:
    """A PNG of the kernels, 16 per row, one pixel per weight: the first tower's, then the second's. The paper's network
    has 96 kernels of 11 x 11 x 3. If int8 is served, the kernels are those of the float32 network."""
    kernels = context.loaded_model.kernels
    if kernels is None:
        raise NoKernelsError("this artifact contains no kernels to draw (kernels.npy)")
    return await context.run(context.run_in_pool(lambda: png_response(draw_sheet(kernels))))


@router.get("/history", responses=ADMITTED_RESPONSES, summary="Training history")
async def get_history(context: ContextDep) -> HistoryResponse:
    """Loss, error and learning rate by epoch, and the confusion matrix, if the artifact has them."""
    loaded_model = context.loaded_model
    classes = [ClassRef.of(index, label) for index, label in enumerate(loaded_model.artifact.labels)]
    return HistoryResponse(classes=classes, history=loaded_model.history)
