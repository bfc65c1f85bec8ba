"""The ONNX file computes what torch does, on images, batch sizes and crops that the export never saw."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from model.exceptions import ExportError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.export import check_export, export, run_torch
from model.network.initialization import initialize
from model.network.onnx_builder import constants
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from model.network.temperature import write_temperature
from model.network.torch_module import AlexNet
from model.runtime import OnnxModel
from tests.helpers.drawings import CLASSES, draw

Exported = tuple[AlexNet, NDArray[np.float32], Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    network = AlexNet(build_spec(NetworkConfig(num_classes=7, hidden=48, input_scale=1 / 64)))
    initialize(network, "he", 0)
    with torch.no_grad():
        network.get_parameter("fc8.weight").normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    mean = np.random.default_rng(0).uniform(90, 150, (256, 256, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    export(network, mean, path)
    return network, mean, path


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.uint8]:
    generator = np.random.default_rng(3)
    return np.stack([draw(CLASSES[i % 3], generator, 256)[:, :256] for i in range(5)])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("crops", [CENTER_CROP, TEN_CROP, (0,), (9, 0, 5), (4, 4)])
def test_equals_torch(exported: Exported, drawn: NDArray[np.uint8], count: int, crops: tuple[int, ...]) -> None:
    network, mean, path = exported
    probabilities, features = OnnxModel(path, "cpu").run(drawn[:count], crops)
    expected_probabilities, expected_features = run_torch(network, mean, drawn[:count], crops)
    assert probabilities.shape == (count, 7)
    assert features.shape == (count, 48)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-5)
    np.testing.assert_allclose(features, expected_features, atol=1e-4 * expected_features.max())
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "choices",
    [
        {"normalization": "source", "mean": "center", "input_scale": 1.0},
        {"name": "alexnet-six-conv", "conv3_cross_tower": False, "channels": ()},
        {"omit_layer": "fc7"},
        {"activation": "sigmoid"},
        {"activation": "abs-tanh"},
        pytest.param({"activation": "tanh", "pool_size": 2, "normalization": "none"}, marks=pytest.mark.slow),
        pytest.param({"name": "alexnet-one-tower", "dropout": 0.2}, marks=pytest.mark.slow),
        pytest.param({"omit_layer": "conv3", "dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param({"omit_layer": "conv5"}, marks=pytest.mark.slow),
    ],
    ids=["source", "six conv", "no fc7", "sigmoid", "abs-tanh", "tanh", "one tower", "no conv3", "no conv5"],
)
def test_every_variant_equals_torch(drawn: NDArray[np.uint8], tmp_path: Path, choices: dict[str, Any]) -> None:
    narrow: dict[str, Any] = {"num_classes": 7, "hidden": 48, "input_scale": 1 / 64, "channels": (24, 64, 96, 96, 64)}
    config = NetworkConfig(**narrow | choices)
    network = AlexNet(build_spec(config))
    initialize(network, "source" if "source" in choices.values() else "he", 0)
    mean = np.random.default_rng(0).uniform(90, 150, (256, 256, 3)).astype(np.float32)
    export(network, mean, tmp_path / "network.onnx")
    probabilities, features = OnnxModel(tmp_path / "network.onnx", "cpu").run(drawn[:2], TEN_CROP)
    expected_probabilities, expected_features = run_torch(network, mean, drawn[:2], TEN_CROP)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-5)
    np.testing.assert_allclose(features, expected_features, atol=1e-4 * np.abs(expected_features).max())
    assert np.ptp(probabilities) > 1e-3


def test_crops_are_those_of_the_paper(exported: Exported, drawn: NDArray[np.uint8]) -> None:
    network, mean, path = exported
    offsets = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    centered = drawn[0].astype(np.float32) - mean
    for crop_id in TEN_CROP:
        top, left = offsets[crop_id % 5]
        crop = centered[top : top + 224, left : left + 224]
        crop = crop[:, ::-1] if crop_id >= 5 else crop
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None]).logits.softmax(1)
        got, _ = OnnxModel(path, "cpu").run(drawn[:1], [crop_id])
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-5, err_msg=f"crop {crop_id}")


@pytest.mark.parametrize("crops", [CENTER_CROP, pytest.param(TEN_CROP, marks=pytest.mark.slow)])
def test_equals_torch_at_every_temperature(
    exported: Exported, drawn: NDArray[np.uint8], tmp_path: Path, crops: tuple[int, ...]
) -> None:
    network, mean, path = exported
    warm = Path(shutil.copy(path, tmp_path))
    write_temperature(warm, 0.4)
    probabilities, _ = OnnxModel(warm, "cpu").run(drawn[:2], crops)
    np.testing.assert_allclose(probabilities, run_torch(network, mean, drawn[:2], crops, 0.4)[0], atol=1e-5)
    assert np.abs(probabilities - run_torch(network, mean, drawn[:2], crops)[0]).max() > 1e-3
    assert check_export(network, mean, warm) <= 1e-4


def _change(name: str, edit: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        for constant in constants(proto)[name]:
            values = numpy_helper.to_array(constant)
            constant.raw_data = np.ascontiguousarray(edit(values), values.dtype).tobytes()

    return change


@pytest.mark.parametrize(
    "fault",
    [
        _change("conv1.weight", lambda w: w[:, ::-1]),
        _change("conv2.weight", lambda w: np.roll(w, 128, 0)),
        _change("mean", lambda m: m + 2),
        _change("crop_columns", lambda c: np.clip(c + 1, 0, 255)),
        _change("crop_rows", lambda r: r[::-1]),
        _change("lrn1.band", lambda b: b / 5),
        _change("lrn2.k", lambda k: k / 2),
        _change("fc7.weight", lambda w: w * 2),
        _change("fc8.bias", lambda b: b[::-1]),
    ],
    ids=["BGR", "towers swapped", "mean", "a column off", "crops mixed up", "alpha / n", "k = 1", "dropout", "classes"],
)
def test_every_planted_fault_is_caught(
    exported: Exported, tmp_path: Path, fault: Callable[[onnx.ModelProto], None]
) -> None:
    network, mean, path = exported
    proto = onnx.load(str(path))
    fault(proto)
    onnx.save(proto, str(tmp_path / "faulty.onnx"))
    with pytest.raises(ExportError, match="differ by"):
        check_export(network, mean, tmp_path / "faulty.onnx")


def test_a_refused_export_leaves_no_file(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.network.equivalence.TOLERANCE", -1.0)
    with pytest.raises(ExportError):
        export(exported[0], exported[1], tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_features_may_all_be_negative(tmp_path: Path) -> None:
    """As after tanh: they used to be compared as if all were almost 0, so the export was refused."""
    network = AlexNet(build_spec(NetworkConfig(num_classes=3, hidden=8, channels=(4,) * 5, activation="tanh")))
    initialize(network, "he", 0)
    with torch.no_grad():
        network.get_parameter("fc7.weight").mul_(0.1)
        network.get_parameter("fc7.bias").fill_(-0.5)
    mean = np.full((256, 256, 3), 128, np.float32)
    export(network, mean, tmp_path / "network.onnx")
    images = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    assert OnnxModel(tmp_path / "network.onnx", "cpu").features(images, CENTER_CROP).max() < 0
