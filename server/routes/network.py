"""The network that is served, looked into: Figure 3's kernels, and how its training went."""

from __future__ import annotations

import io

from fastapi import APIRouter, Response
from PIL import Image

from model.artifacts.artifact import NETWORK
from model.artifacts.history import read_history
from model.artifacts.kernels import read_kernels, sheet
from server.schemas import HistoryAnswer
from server.uploads import ServingDep

router = APIRouter(tags=["operation"])


@router.get("/kernels", response_class=Response, summary="What the first layer looks for")
def kernels(serving: ServingDep) -> Response:
    """A PNG of the 96 kernels of 11 x 11 x 3, 16 a row, a pixel a weight: those of the first tower, then those of the
    second. Those of the float32 network, also where int8 is served."""
    file = io.BytesIO()
    Image.fromarray(sheet(read_kernels(serving.artifact.path / NETWORK))).save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


@router.get("/history", summary="How the training went")
def history(serving: ServingDep) -> HistoryAnswer:
    """Loss, error and learning rate by epoch, and what was taken for what, where the artifact carries them."""
    return HistoryAnswer(
        classes=[label.name for label in serving.artifact.labels], history=read_history(serving.artifact)
    )
