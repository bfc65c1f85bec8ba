"""A network with mapped weights gives the same results as without, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from model.mapped_weights import MIN_BYTES, externalize_weights
from model.runtime import OnnxModel


@pytest.mark.parametrize("optimize", [False, True])
def test_the_results_are_those_of_the_whole_file(artifact: Artifact, tmp_path: Path, optimize: bool) -> None:
    folder = tmp_path / "müde Äpfel"
    folder.mkdir()
    shutil.copy(artifact.network_path, folder / "another name.onnx")
    (tmp_path / "network.onnx").symlink_to(folder / "another name.onnx")
    pixels = np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    whole = OnnxModel(artifact.network_path, "cpu", optimize=optimize)
    mapped = OnnxModel(tmp_path / "network.onnx", "cpu", optimize=optimize, mapped=True)
    for expected, result in zip(whole.run(pixels, TEN_CROP), mapped.run(pixels, TEN_CROP), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_only_large_weights_are_replaced_by_references(artifact: Artifact) -> None:
    content = artifact.network_path.read_bytes()
    graph = onnx.load_from_string(externalize_weights(artifact.network_path))
    original = onnx.load_from_string(content)
    references = 0
    for tensor, whole in zip(graph.graph.initializer, original.graph.initializer, strict=True):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if len(whole.raw_data) >= MIN_BYTES:
            assert entries["location"] == artifact.network_path.name
            start, length = int(entries["offset"]), int(entries["length"])
            assert content[start : start + length] == whole.raw_data
            references += 1
        else:
            assert tensor == whole
    assert references
    graph.graph.ClearField("initializer")
    original.graph.ClearField("initializer")
    assert graph == original
