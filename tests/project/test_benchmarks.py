"""A benchmark's side that dies ends the benchmark, with a word."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import apart, step_of_stock


def test_a_side_that_dies_is_noticed() -> None:
    with pytest.raises(SystemExit, match="one has ended"), apart(False, step_of_stock, -1, torch.device("cpu")) as turn:
        turn()
