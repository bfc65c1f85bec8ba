"""A benchmark ends with a message if the process of one side dies."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import separate_process, step_of_stock


def test_dead_process_ends_the_benchmark() -> None:
    device = torch.device("cpu")
    with (
        pytest.raises(SystemExit, match="one side has ended"),
        separate_process(False, step_of_stock, -1, device) as turn,
    ):
        turn()
