"""A checkpoint of another configuration or of other classes is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.exceptions import TrainingError
from tests.helpers.trainers import Make, checkpoint, options
from training.config import RunOptions


def test_a_checkpoint_of_another_configuration_is_refused(make: Make, tmp_path: Path) -> None:
    make().fit()
    state = checkpoint(tmp_path)
    assert state["config"]["recipe"]["name"] == "small"
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("recipe.learning_rate", {"recipe": options(learning_rate=0.5)}),
        ("run.seed", {"run": RunOptions(seed=1)}),
        ("run.frozen", {"run": RunOptions(frozen=("conv1",))}),
        ("run.lr_multipliers", {"run": RunOptions(lr_multipliers={"fc8": 0.5})}),
    )
    for field, change in changes:
        with pytest.raises(TrainingError, match=rf"{field} is .* in config\.json, but .* in the checkpoint"):
            make(state, **change)
    make(state, micro_batch=2)
    with pytest.raises(TrainingError, match="the classes of --data differ"):
        make(state | {"upright": False})
    with pytest.raises(TrainingError, match="the classes of --data differ"):
        make(state | {"classes": state["classes"][::-1]})
