"""Packing rounds the weights a little, and unpacking gives the same file bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError
from model.network.compression import MAX_CONV_LEVEL, MAX_LINEAR_LEVEL, pack, unpack
from model.network.onnx_builder import constants


@pytest.fixture(scope="module")
def packed(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A rounded network with a pruned layer, and its packed form."""
    network = tmp_path_factory.mktemp("packed") / "network.onnx"
    proto = onnx.load(str(artifact.network_path))
    for constant in proto.graph.initializer:
        if constant.name == "fc6.weight":
            weights = numpy_helper.to_array(constant).copy()
            weights[np.abs(weights) < np.quantile(np.abs(weights), 0.99)] = 0  # gaps too long for one byte
            weights[0] = 0  # a neuron of which nothing is left
            constant.raw_data = weights.tobytes()
    onnx.save(proto, str(network))
    pack(network, network.with_suffix(".pack"))
    return network, network.with_suffix(".pack")


def test_unpacks_to_the_same_bytes_and_is_small(packed: tuple[Path, Path]) -> None:
    network, pack_file = packed
    assert unpack(pack_file.read_bytes()) == network.read_bytes()
    assert pack_file.stat().st_size < network.stat().st_size / 4


def test_rounding_is_half_a_step_at_most(packed: tuple[Path, Path], artifact: Artifact) -> None:
    before, after = (
        {name: numpy_helper.to_array(copies[-1]) for name, copies in constants(onnx.load(str(path))).items()}
        for path in (artifact.network_path, packed[0])
    )
    for name, levels in (("conv3.weight", MAX_CONV_LEVEL), ("fc7.weight", MAX_LINEAR_LEVEL)):
        rows = before[name].reshape(len(before[name]), -1)
        steps = np.abs(rows).max(1, keepdims=True) / levels
        assert (np.abs(after[name].reshape(rows.shape) - rows) <= 0.5001 * steps).all()
    assert np.abs(after["mean"] - before["mean"]).max() <= 1 / 128
    np.testing.assert_array_equal(after["conv1.bias"], before["conv1.bias"])


def test_damage_is_refused(packed: tuple[Path, Path], tmp_path: Path) -> None:
    data = packed[1].read_bytes()
    shutil.copy(packed[1], tmp_path)
    for damaged in (b"", data[:100], data[: len(data) // 2], b"x" + data[1:]):
        with pytest.raises(ArtifactError, match="packed network is damaged"):
            unpack(damaged)
