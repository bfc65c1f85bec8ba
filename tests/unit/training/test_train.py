"""`train_run` refuses what the device can't do."""

from __future__ import annotations

import pytest

from model.exceptions import TrainingError
from training.config import Environment, TrainConfig
from training.train import train_run


def test_compiling_is_for_a_gpu() -> None:
    with pytest.raises(TrainingError, match="--compile needs a GPU"):
        train_run(TrainConfig.create(environment=Environment(compile=True, device="cpu")))
