"""Files of torch weights: only dense weights are read, in any precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.exceptions import ArtifactError
from model.pretrained import importer
from model.pretrained.specs import TORCHVISION_ALEXNET
from tests.helpers.pretrained_files import ONE_TOWER, random_weights, small, state_dict


@pytest.mark.parametrize(
    "state",
    [
        [torch.zeros(2)],
        {"features.0.weight": 1},
        {"features.0.weight": torch.zeros(2, dtype=torch.complex64)},
        {"features.0.weight": torch.zeros(2, device="meta")},
        {"features.0.weight": torch.zeros(2).to_sparse()},
    ],
    ids=["list", "number", "complex", "meta", "sparse"],
)
def test_a_file_of_torch_with_something_else_is_refused(state: object, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ArtifactError, match="it isn't a dictionary of dense weights"):
        importer.read_file(small(TORCHVISION_ALEXNET), tmp_path / "net.pth")


def test_weights_of_less_precision_are_read_as_float32(tmp_path: Path) -> None:
    state = state_dict(random_weights(ONE_TOWER, 1.0))
    torch.save({name: torch.nn.Parameter(weight.bfloat16()) for name, weight in state.items()}, tmp_path / "net.pth")
    _, contents = importer.read_file(small(TORCHVISION_ALEXNET), tmp_path / "net.pth")
    assert {weight.dtype for weight in contents.weights.values()} == {np.dtype(np.float32)}
