"""Classifier: results are those of the commands, for one image and for several."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import AlexNetError, Classifier
from model.artifacts.artifact import Artifact
from model.datasets.image_files import read_image_file
from model.exceptions import ArtifactError, InvalidRequestError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel, top_k
from tests.helpers.drawings import CLASSES


@pytest.fixture(scope="module")
def classifier(artifact: Artifact) -> Classifier:
    return Classifier(artifact.path, device="cpu")


@pytest.fixture(scope="module")
def files(images: Path) -> list[Path]:
    return sorted(images.rglob("*.jpg"))[::4]


def test_classes_are_those_of_the_network(
    classifier: Classifier, model: OnnxModel, artifact: Artifact, files: list[Path]
) -> None:
    one = classifier.classify(files[0], top=2)
    probabilities = model.run(decode_image(read_image_file(files[0])).pixels[None], TEN_CROP)[0][0]
    assert [p.index for p in one.predictions] == top_k(probabilities, 2).tolist()
    assert [p.probability for p in one.predictions] == pytest.approx(sorted(probabilities)[:-3:-1])
    assert repr(classifier) == "<Classifier patterns version 1: 3 classes, float32 on cpu>"
    first = one.predictions[0]
    assert f"{100 * first.probability:6.2f} %  {first.name}" in str(one)
    assert classifier.labels == tuple(label.name for label in artifact.labels)


@pytest.mark.parametrize("crops", [1, 10])
def test_several_are_computed_in_batches(classifier: Classifier, files: list[Path], crops: int) -> None:
    assert len(files) > 16
    several = classifier.classify(files, crops=crops)  # type: ignore[call-overload]
    assert len(several) == len(files)
    for file, result in zip(files, several, strict=True):
        alone = classifier.classify(file, crops=crops)  # type: ignore[call-overload]
        assert [p.id for p in result.predictions] == [p.id for p in alone.predictions]
        np.testing.assert_allclose([p.probability for p in result.predictions], [p.probability for p in alone.predictions], atol=1e-5)  # fmt: skip  # noqa: E501
    assert classifier.classify([]) == []


def test_of_a_generator_no_more_images_are_held_than_are_decoded_ahead(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator of 10,000 arrays wouldn't fit into memory."""
    image = np.zeros((8, 8, 3), np.uint8)
    made, computed, max_held = 0, 0, 0

    def make() -> Iterator[np.ndarray]:
        nonlocal made, max_held
        for _ in range(60):
            made += 1
            max_held = max(max_held, made - computed)
            yield image

    def run(batch: np.ndarray, crops: object) -> tuple[np.ndarray, np.ndarray]:
        nonlocal computed
        computed += len(batch)
        return np.zeros((len(batch), len(CLASSES)), np.float32), np.zeros((len(batch), 4096), np.float32)

    monkeypatch.setattr(classifier._model, "run", run)
    monkeypatch.setattr(classifier, "_familiarity", None)
    assert len(classifier.classify(make(), crops=1)) == 60
    assert max_held <= 33  # one batch, as many decoded ahead, and the next image


def test_features_are_those_of_the_index(classifier: Classifier, model: OnnxModel, files: list[Path]) -> None:
    pixels = np.asarray(Image.open(files[0]).convert("RGB"))
    features = classifier.features([files[0], pixels])
    assert features.shape == (2, classifier.artifact.manifest.feature_dim)
    assert features.dtype == np.float32
    assert classifier.features(files[0]).shape == (1, features.shape[1])
    assert classifier.features([]).shape == (0, features.shape[1])
    expected = model.features(decode_image(read_image_file(files[0])).pixels[None], CENTER_CROP)
    np.testing.assert_allclose(features[:1], expected, atol=1e-4)
    ten = model.features(decode_image(read_image_file(files[0])).pixels[None], TEN_CROP)
    np.testing.assert_allclose(classifier.features(files[0], crops=10), ten, atol=1e-4)
    for crops in (5, [1]):
        with pytest.raises(InvalidRequestError, match="crops must be 1 or 10, not "):
            classifier.features(files[0], crops=crops)  # type: ignore[arg-type]


def test_errors_are_sentences(classifier: Classifier, tmp_path: Path, files: list[Path]) -> None:
    for images in (tmp_path / "none.jpg", [files[0], tmp_path / "none.jpg"]):
        with pytest.raises(AlexNetError, match=r"can't read .*none\.jpg"):
            classifier.classify(images)
    for top, crops in ((0, 10), (1, 5), (1.5, 10)):
        with pytest.raises(InvalidRequestError, match=f"crops must be 1 or 10, .*, not {crops} and {top}"):
            classifier.classify(files[0], top=top, crops=crops)  # type: ignore[call-overload]
    with pytest.raises(ArtifactError, match="unknown precision 'fp8': use float32 or int8"):
        Classifier(classifier.artifact.path, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=r"no artifact in .*nowhere"):
        Classifier(tmp_path / "nowhere")


def test_the_newest_network_of_the_user_is_the_default(artifact: Artifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    default = Classifier(home=tmp_path, device="cpu")
    assert default.artifact.manifest.name == "patterns"
    assert sorted(default.labels) == sorted(CLASSES)


def test_importing_alexnet_imports_nothing(tmp_path: Path) -> None:
    script = "import sys, alexnet; print({'numpy', 'PIL', 'model', 'index', 'pydantic'} & set(sys.modules))"
    command = [sys.executable, "-c", f"{script}; from alexnet import Classifier; print(Classifier.__name__)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nClassifier\n"
    with pytest.raises(ImportError, match="cannot import name 'Classifer'"):
        from alexnet import Classifer  # noqa: F401
