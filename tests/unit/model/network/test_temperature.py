"""The temperature is one constant of the graph: nothing else changes with it, and torch computes the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.equivalence import random_images
from model.network.onnx_builder import constants
from model.network.temperature import TEMPERATURE, read_temperature, write_temperature, write_with_logits
from model.runtime import OnnxModel


@pytest.fixture
def network(artifact: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copy(artifact.network_path, tmp_path / "network.onnx"))


@pytest.mark.parametrize("crops", [CENTER_CROP, (2,), TEN_CROP])
def test_probabilities_are_the_mean_softmax_of_the_logits_over_it(network: Path, crops: tuple[int, ...]) -> None:
    images = random_images(np.random.default_rng(0), 3)
    before_probabilities, before_features = OnnxModel(network, "cpu").run(images, crops)
    write_temperature(network, 2.5)
    assert read_temperature(network) == 2.5
    write_with_logits(network, network.with_name("logits.onnx"))
    probabilities, features, scaled = OnnxModel(network.with_name("logits.onnx"), "cpu").run_with_logits(images, crops)
    assert scaled.shape == (3, len(crops), 3)
    expected = np.exp(scaled) / np.exp(scaled).sum(2, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.mean(1), atol=1e-6)
    np.testing.assert_allclose(OnnxModel(network, "cpu").run(images, crops)[0], probabilities, atol=1e-6)
    np.testing.assert_array_equal(features, before_features)
    assert np.abs(probabilities - before_probabilities).max() > 1e-3
    if len(crops) == 1:
        np.testing.assert_array_equal(probabilities.argsort(1), before_probabilities.argsort(1))


def test_nothing_else_in_the_file_changes(artifact: Artifact, network: Path) -> None:
    original = read_temperature(artifact.network_path)
    write_temperature(network, 3.0)
    assert network.read_bytes() != artifact.network_path.read_bytes()
    write_temperature(network, original)
    assert network.read_bytes() == artifact.network_path.read_bytes()


def test_a_network_without_one_is_named(network: Path) -> None:
    model = onnx.load(str(network))
    (constant,) = constants(model)[TEMPERATURE]
    constant.name = "other"
    onnx.save(model, str(network))
    with pytest.raises(ArtifactError, match=r"network\.onnx has no temperature: train or pull it again"):
        read_temperature(network)


def test_logits_are_no_output_of_a_served_network(artifact: Artifact) -> None:
    served = onnx.load(str(artifact.network_path))
    assert [output.name for output in served.graph.output] == ["probabilities", "features"]
