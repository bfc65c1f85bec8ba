"""Fine-tuning: what the command refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.fine_tuning import main
from model.exceptions import TrainingError


@pytest.mark.parametrize(
    ("task", "method", "unknown"), [(["cells", "cell"], None, "cell"), (None, ["every layer"], "every layer")]
)
def test_unknown_names_are_refused(
    task: list[str] | None, method: list[str] | None, unknown: str, tmp_path: Path
) -> None:
    """The refusal comes before anything is loaded."""
    with pytest.raises(TrainingError, match=f"unknown name '{unknown}': choose from "):
        main(tmp_path / "none", task=task, method=method, output=tmp_path)
