"""Ablation grids: a file that can't be read is named in the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.ablation import read_grid
from model.exceptions import TrainingError


def test_a_grid_that_cannot_be_read(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    with pytest.raises(TrainingError, match=r"can't read the grid .*grid\.toml: No such file"):
        read_grid(grid)
    for content in (b"rows =", b"\xff"):
        grid.write_bytes(content)
        with pytest.raises(TrainingError, match=r"grid\.toml isn't a TOML file: "):
            read_grid(grid)
    grid.write_text("[rows.other]")
    with pytest.raises(TrainingError, match="has no row named 'the network'"):
        read_grid(grid)
