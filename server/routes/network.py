"""The served network: Figure 3's kernels, and its training history."""

from __future__ import annotations

import io

from fastapi import APIRouter, Response
from PIL import Image

from model.artifacts.artifact import NETWORK
from model.artifacts.history import read_history
from model.artifacts.kernels import read_kernels, sheet
from server.dependencies import LoadedModelDep
from server.schemas import HistoryResponse

router = APIRouter(tags=["operation"])


@router.get("/kernels", response_class=Response, summary="Kernels of the first layer")
def get_kernels(loaded_model: LoadedModelDep) -> Response:
    """A PNG of the 96 kernels of 11 x 11 x 3, 16 per row, one pixel per weight: those of the first tower, then those of
    the second. They are the float32 network's, also where int8 is served."""
    file = io.BytesIO()
    Image.fromarray(sheet(read_kernels(loaded_model.artifact.path / NETWORK))).save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


@router.get("/history", summary="Training history")
def get_history(loaded_model: LoadedModelDep) -> HistoryResponse:
    """Loss, error and learning rate by epoch, and the confusion matrix, if the artifact has them."""
    artifact = loaded_model.artifact
    return HistoryResponse(classes=[label.name for label in artifact.labels], history=read_history(artifact))
