"""Errors on photographs: what the command refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from experiments.photos.measure import main
from model.exceptions import InvalidRequestError


@pytest.mark.parametrize("half", ["reporting", None])
def test_only_images_to_choose_by_are_drawn(half: Literal["reporting"] | None, tmp_path: Path) -> None:
    """Nothing is loaded before."""
    with pytest.raises(InvalidRequestError, match="--drawing is for --half choosing"):
        main(half, artifact=tmp_path / "none", data=tmp_path / "none", drawing=tmp_path / "mistakes.png")
