"""The int8 network is close to the float32 one in every variant, and pooling in uint8 loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.images.crops import CENTER_CROP, TEN_CROP
from model.network import onnx_graph
from model.network.initialization import initial_state
from model.network.onnx_layers import fold_constants, quantized_pooling
from model.network.quantization import quantize
from model.network.registry import build_spec
from model.network.spec import InitScheme, NetworkConfig, NetworkSpec
from model.runtime import OnnxModel
from tests.helpers.drawings import CLASSES, draw

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def drawn() -> Pixels:
    generator = np.random.default_rng(3)
    return np.stack([draw(CLASSES[i % 3], generator, 256)[:, :256] for i in range(4)])


def _build(**choices: Any) -> NetworkSpec:
    small: dict[str, Any] = {"num_classes": 7, "hidden": 48, "channels": (16, 32, 32, 32, 32), "input_scale": 1 / 64}
    return build_spec(NetworkConfig(**small | choices))


def _write_both(spec: NetworkSpec, images: Pixels, folder: Path, scheme: InitScheme = "he") -> tuple[Path, Path]:
    """Write a network with random weights in float32 and in int8; return both paths."""
    weights = fold_constants(spec, {name: value.numpy() for name, value in initial_state(spec, scheme, 0).items()})
    mean = np.random.default_rng(0).uniform(90, 150, (256, 256, 3)).astype(np.float32)
    float32, int8 = folder / "float32.onnx", folder / "int8.onnx"
    float32.write_bytes(onnx_graph.build_graph(spec, weights, mean).SerializeToString())
    quantize(spec, weights, mean, [images], int8)
    return float32, int8


def test_weights_take_a_quarter(drawn: Pixels, tmp_path: Path) -> None:
    """With the paper's channels, where weights are most of the file."""
    float32, int8 = _write_both(_build(channels=(), hidden=64), drawn[:1], tmp_path)
    assert int8.stat().st_size < 0.35 * float32.stat().st_size


@pytest.mark.parametrize("crops", [TEN_CROP, CENTER_CROP])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"input_scale": 1.0},
        {"normalization": "source", "mean": "center"},
        {"normalization": "none", "pool_size": 2},
        {"activation": "tanh"},
        {"activation": "sigmoid"},
        {"activation": "abs-tanh"},
        {"omit_layer": "conv2"},
        {"name": "alexnet-one-tower"},
    ],
    ids=["paper", "raw pixels", "source", "no normalization", "tanh", "sigmoid", "abs-tanh", "no conv2", "one tower"],
)
def test_features_are_near_those_of_float32(
    drawn: Pixels, tmp_path: Path, choices: dict[str, Any], crops: tuple[int, ...]
) -> None:
    float32, int8 = _write_both(_build(**choices), drawn, tmp_path)
    (_, expected), (_, features) = (OnnxModel(file, "cpu").run(drawn, crops) for file in (float32, int8))
    cosines = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.98
    assert not np.array_equal(features, expected)


@pytest.mark.parametrize("crops", [TEN_CROP, CENTER_CROP])
@pytest.mark.parametrize("choices", [{}, {"normalization": "none"}, {"activation": "tanh"}])
def test_pooling_rounded_values_is_exact(
    drawn: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choices: dict[str, Any], crops: tuple[int, ...]
) -> None:
    spec = _build(**choices)
    assert quantized_pooling(spec) == {"pool1": "conv2.in", "pool2": "conv3.in", "pool5": "fc6.in"}
    _, int8 = _write_both(spec, drawn, tmp_path)
    features = OnnxModel(int8, "cpu").run(drawn, crops)[1]
    monkeypatch.setattr(onnx_graph, "quantized_pooling", lambda spec: {})
    _, int8 = _write_both(spec, drawn, tmp_path)
    np.testing.assert_array_equal(features, OnnxModel(int8, "cpu").run(drawn, crops)[1])
