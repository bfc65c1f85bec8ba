"""The served network: Figure 3's kernels, and its training history."""

from __future__ import annotations

import io

from fastapi import APIRouter, Response
from PIL import Image

from model.artifacts.history import read_history
from model.artifacts.kernels import draw_sheet, read_kernels
from server.dependencies import LoadedModelDep
from server.exceptions import NoKernelsError
from server.responses import responses_for
from server.schemas import HistoryResponse

router = APIRouter(tags=["operation"])


@router.get(
    "/kernels",
    response_class=Response,
    responses=responses_for(NoKernelsError),
    summary="Kernels of the first layer",
)
def get_kernels(loaded_model: LoadedModelDep) -> Response:
    """A PNG of the 96 kernels of 11 x 11 x 3, 16 per row, one pixel per weight: those of the first tower, then those of
    the second. They are the float32 network's, also where int8 is served."""
    kernels = read_kernels(loaded_model.artifact)
    if kernels is None:
        raise NoKernelsError("this artifact has no figure of its kernels")
    file = io.BytesIO()
    Image.fromarray(draw_sheet(kernels)).save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


@router.get("/history", summary="Training history")
def get_history(loaded_model: LoadedModelDep) -> HistoryResponse:
    """Loss, error and learning rate by epoch, and the confusion matrix, if the artifact has them."""
    artifact = loaded_model.artifact
    return HistoryResponse(classes=[label.name for label in artifact.labels], history=read_history(artifact))
