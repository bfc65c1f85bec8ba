"""Ten crops that compute shared parts once, compared with the same crops computed apart, on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from training.data.loading import load_dataset

SHARED = Path(__file__).parents[5] / "shared" / "data" / "grocery.zip"


@pytest.fixture(scope="module")
def full_size(bundled: Artifact) -> OnnxModel:
    return OnnxModel(bundled.network_path, "cpu")


def apart(model: OnnxModel, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Results of ten crops, computed as five and five crops, which don't share anything."""
    halves = [model.run(image, crops) for crops in (TEN_CROP[:5], TEN_CROP[5:])]
    return (halves[0][0] + halves[1][0]) / np.float32(2), (halves[0][1] + halves[1][1]) / np.float32(2)


def assert_equal(model: OnnxModel, files: list[Path]) -> None:
    for file in files:
        image = decode_image(file.read_bytes()).pixels[None]
        (expected, expected_features), (result, found_features) = apart(model, image), model.run(image, TEN_CROP)
        np.testing.assert_allclose(result, expected, atol=1e-5)
        np.testing.assert_allclose(found_features, expected_features, atol=1e-4 * expected_features.max())
        assert np.argsort(-result[0])[:5].tolist() == np.argsort(-expected[0])[:5].tolist()


@pytest.mark.parametrize("num_images", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_solar_cells(full_size: OnnxModel, num_images: int) -> None:
    assert_equal(full_size, [example.path for example in load_dataset("elpv").test[:num_images]])


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_file(), reason="the Grocery Store images are not in ../shared/data")
def test_two_hundred_color_images(full_size: OnnxModel) -> None:
    test = load_dataset("grocery", archive=SHARED).test
    assert_equal(full_size, [test[i].path for i in np.random.default_rng(0).permutation(len(test))[:200]])


def test_several_images_and_any_order_of_the_crops(model: OnnxModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    together = model.run(images, TEN_CROP)
    for number, image in enumerate(images):
        for crops in (TEN_CROP, TEN_CROP[::-1]):
            for whole, one in zip(together, model.run(image[None], crops), strict=True):
                np.testing.assert_allclose(one[0], whole[number], atol=1e-5 * whole.max())


def test_ten_times_the_same_crop_is_that_crop(model: OnnxModel) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    np.testing.assert_allclose(model.run(image, [4] * 10)[0], model.run(image, [4])[0], atol=1e-6)
    assert np.abs(model.run(image, TEN_CROP)[0] - model.run(image, [4])[0]).max() > 1e-4


def test_the_graph_has_both_ways(artifact: Artifact) -> None:
    (choice,) = [node for node in onnx.load(str(artifact.network_path)).graph.node if node.op_type == "If"]
    ways = {attribute.name: [node.op_type for node in attribute.g.node] for attribute in choice.attribute}
    assert ways["else_branch"].count("Conv") == 4  # two layers and their norms' sums of squares
    assert ways["then_branch"].count("Conv") == 2 * (7 + 5)  # the same, for the whole and its bands
