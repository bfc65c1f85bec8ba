"""PNG images as responses."""

from __future__ import annotations

import io

import numpy as np
from fastapi import Response
from numpy.typing import NDArray
from PIL import Image


def png_response(pixels: NDArray[np.uint8]) -> Response:
    """(height, width, 3) uint8 RGB pixels as a PNG file, compressed quickly rather than well."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")
