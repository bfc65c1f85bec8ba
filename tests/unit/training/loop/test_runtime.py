"""Device and precision of training."""

from __future__ import annotations

import pytest
import torch

from model.exceptions import TrainingError
from training.loop.runtime import pick_device, pick_precision


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("float32", cpu) == "float32"
    assert pick_precision("auto", cpu) in ("float32", "bfloat16")


def test_device() -> None:
    if not torch.cuda.is_available():
        assert pick_device("auto") == "cpu"
        with pytest.raises(TrainingError, match="no CUDA device"):
            pick_device("cuda")
