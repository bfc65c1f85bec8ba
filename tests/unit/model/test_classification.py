"""The result of classifying an image."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from model.artifacts.artifact import Label
from model.classification import to_classification
from model.images.preprocess import decode_image


def test_a_probability_of_rounded_sums_is_at_most_1() -> None:
    """In the server, on the command line and in a program alike."""
    file = io.BytesIO()
    Image.new("RGB", (256, 256)).save(file, "PNG")
    image = decode_image(file.getvalue())
    probabilities = np.array([0.0, 1.0000001], np.float32)
    labels = [Label(id="a", name="A"), Label(id="b", name="B")]
    result = to_classification(labels, image, probabilities, np.zeros(4, np.float32), None, 2, 10)
    assert [(item.index, item.name, item.probability) for item in result.predictions] == [(1, "B", 1.0), (0, "A", 0.0)]
    assert (result.familiarity, result.familiar, str(result)) == (None, None, "100.00 %  B\n  0.00 %  A")
