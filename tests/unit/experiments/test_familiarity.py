"""Data without test images are refused, since training and calibration have seen the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.familiarity import draw_test_images
from model.exceptions import InvalidRequestError
from tests.helpers.drawings import draw_images
from training.data.loading import load_dataset


def test_data_without_test_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        draw_images(tmp_path / split, 2, 1)
    with pytest.raises(InvalidRequestError, match="has no test images: choose data with a test split"):
        draw_test_images(load_dataset(str(tmp_path)), 3, np.random.default_rng(0))
