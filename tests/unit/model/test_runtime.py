"""The runtime: the same results for every batch size and number of threads, invalid input rejected, top k."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError, DeviceError, InvalidRequestError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.runtime import MAX_CROPS, PROVIDERS, OnnxModel, top_k


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)


def test_results_do_not_depend_on_batch_or_threads(artifact: Artifact, pixels: np.ndarray) -> None:
    one, two = OnnxModel(artifact.network_path, "cpu", threads=1), OnnxModel(artifact.network_path, "cpu", threads=2)
    together = one.features(pixels, CENTER_CROP)
    np.testing.assert_array_equal(two.features(pixels, CENTER_CROP), together)
    for position, image in enumerate(pixels):
        np.testing.assert_array_equal(one.features(image[None], CENTER_CROP)[0], together[position])


def test_a_batch_in_pieces_is_the_same(artifact: Artifact, pixels: np.ndarray) -> None:
    model = OnnxModel(artifact.network_path, "cpu")
    assert len(pixels) * len(TEN_CROP) > 2 * MAX_CROPS
    together = model.run(pixels, TEN_CROP)
    for position, image in enumerate(pixels):
        for results, expected in zip(model.run(image[None], TEN_CROP), together, strict=True):
            np.testing.assert_allclose(results[0], expected[position], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("crops", [CENTER_CROP, TEN_CROP])
def test_no_images_have_no_results(artifact: Artifact, pixels: np.ndarray, crops: tuple[int, ...]) -> None:
    model = OnnxModel(artifact.network_path, "cpu")
    probabilities, features = model.run(pixels[:0], crops)
    assert (probabilities.shape, features.shape) == ((0, model.num_classes), (0, model.feature_dim))
    assert model.features(pixels[:0], crops).shape == (0, model.feature_dim)


def test_a_network_that_is_not_optimized_computes_the_same(artifact: Artifact, pixels: np.ndarray) -> None:
    optimized, plain = OnnxModel(artifact.network_path, "cpu"), OnnxModel(artifact.network_path, "cpu", optimize=False)
    for expected, result in zip(optimized.run(pixels, TEN_CROP), plain.run(pixels, TEN_CROP), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_the_runtime_rejects_invalid_input(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    model = OnnxModel(artifact.network_path, "cpu")
    with pytest.raises(InvalidRequestError, match="images must be uint8"):
        model.run(pixels[:, :224], CENTER_CROP)
    with pytest.raises(InvalidRequestError, match="from 0 to 9"):
        model.run(pixels, [10])
    (tmp_path / "network.onnx").write_bytes(b"no network")
    with pytest.raises(ArtifactError, match="isn't a complete ONNX file"):
        OnnxModel(tmp_path / "network.onnx")
    with pytest.raises(DeviceError, match="pip uninstall --yes onnxruntime faiss-cpu && pip install 'onnxruntime-gpu"):
        OnnxModel(artifact.network_path, "cuda")
    with pytest.raises(DeviceError, match="unknown device"):
        OnnxModel(artifact.network_path, "tpu")


def test_a_network_that_fails_at_run_time_is_named(artifact: Artifact, pixels: np.ndarray, tmp_path: Path) -> None:
    """Here a table has no row for an image's first value; running out of memory is reported in the same way."""
    network = onnx.load(str(artifact.network_path))
    parts = ("table", np.zeros((1, 256, 3), np.float32)), ("corner", [[0, 0, 0, 0]])
    network.graph.initializer.extend(numpy_helper.from_array(np.array(values), name) for name, values in parts)
    for node in network.graph.node:
        node.output[:] = [f"{name}_before" if name == "features" else name for name in node.output]
    network.graph.node.extend([
        helper.make_node("GatherND", ["images", "corner"], ["value"]),
        helper.make_node("Cast", ["value"], ["place"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["found"]),
        helper.make_node("ReduceSum", ["found"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["features_before", "nothing"], ["features"]),
    ])  # fmt: skip
    path = tmp_path / "network.onnx"
    onnx.save(network, str(path))
    model, images = OnnxModel(path, "cpu"), pixels[:1].copy()
    images[0, 0, 0, 0] = 0
    assert model.features(images, CENTER_CROP).shape == (1, 64)
    images[0, 0, 0, 0] = 1
    with pytest.raises(ArtifactError, match=rf"onnxruntime can't run {path}: .*out of data bounds"):
        model.features(images, CENTER_CROP)


def test_cuda_libraries_that_pip_installed_are_loaded(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(ort, "preload_dlls", lambda **options: loaded.append(options))
    OnnxModel(artifact.network_path)
    assert not loaded
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    with warnings.catch_warnings(action="ignore"):  # onnxruntime warns: it has no CUDA here
        assert OnnxModel(artifact.network_path).device == "cpu"
    assert len(loaded) == 1


def test_cuda_is_asked_for_float32_and_must_be_what_runs(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    providers: list[object] = []
    create = ort.InferenceSession

    def record(*arguments: object, **options: object) -> ort.InferenceSession:
        providers.append(options["providers"])
        return create(*arguments, **options)

    monkeypatch.setattr(ort, "preload_dlls", lambda **options: None)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    monkeypatch.setattr(ort, "InferenceSession", record)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(
            DeviceError, match="would fall back to cpu: check with nvidia-smi that the driver is 580 or newer"
        ),
    ):
        OnnxModel(artifact.network_path, "cuda")
    assert providers == [[("CUDAExecutionProvider", {"use_tf32": "0"})]]


def test_top_k_is_in_order_and_ties_go_to_the_lower_index() -> None:
    scores = np.array([[0.1, 0.4, 0.4, 0.1], [0.0, 0.0, 0.0, 1.0]], np.float32)
    assert top_k(scores, 3).tolist() == [[1, 2, 0], [3, 0, 1]]
    assert top_k(scores[0], 9).tolist() == [1, 2, 0, 3]
