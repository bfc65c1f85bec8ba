"""int8: measured beside float32, refused if it is worse, and never confused with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.build import build, find_images
from index.folder.store import FolderIndex
from model.artifacts import artifact as artifacts
from model.artifacts import writer
from model.artifacts.artifact import Artifact, Measurement
from model.artifacts.weights import read_folded_weights, read_spec
from model.exceptions import ArtifactError, DatasetError, IndexStoreError, QuantizationError
from model.images.contract import DEFAULT_CONTRACT
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.network.quantization import quantize
from model.network.temperature import read_temperature
from model.runtime import OnnxModel
from model.shell_command import alexnet_command
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.leaky_splits import make_leaky
from training.data.datasets import Dataset
from training.data.loading import load_dataset
from training.evaluation.evaluate import decode_batches
from training.evaluation.quantize import add_int8


@pytest.fixture(scope="module")
def both(artifact: Artifact, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small artifact, with int8 beside float32."""
    path = tmp_path_factory.mktemp("int8") / artifact.manifest.name / "1"
    shutil.copytree(artifact.path, path)
    add_int8(path, str(images), None, 30, 0.5, "cpu", print)
    return path


def test_int8_says_what_float32_says(both: Path, images: Path) -> None:
    dataset = load_dataset(str(images))
    pixels = np.concatenate([batch.images for batch in decode_batches(dataset.test, DEFAULT_CONTRACT)])
    float32, int8 = (OnnxModel(artifacts.load(both, p).network_path, "cpu") for p in ("float32", "int8"))
    for crops in (CENTER_CROP, TEN_CROP):
        expected, expected_features = float32.run(pixels, crops)
        result, found_features = int8.run(pixels, crops)
        assert 0 < np.abs(result - expected).max() < 0.1
        assert (result.argmax(1) == expected.argmax(1)).mean() >= 0.9
        assert np.abs(found_features - expected_features).max() < 0.1 * expected_features.max()


def test_int8_has_the_temperature_of_float32(both: Path) -> None:
    float32, int8 = (
        read_temperature(artifacts.load(both, precision).network_path) for precision in ("float32", "int8")
    )
    assert int8 == float32 != 1


def test_an_output_without_weights_keeps_its_bias(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """As in pruned networks: its weights are almost 0, so its bias is many quantization steps."""
    weights, mean = read_folded_weights(artifact)
    weights["fc7.weight"] = weights["fc7.weight"] * np.float32(1e-15)
    weights["fc7.bias"] = np.linspace(-1, 1, len(weights["fc7.bias"]), dtype=np.float32)
    pixels = np.stack([decode_image(path.read_bytes()).pixels for path in sorted(images.rglob("*.jpg"))[::30]])
    quantize(read_spec(artifact.manifest), weights, mean, [pixels], tmp_path / "int8.onnx")
    features = OnnxModel(tmp_path / "int8.onnx", "cpu").features(pixels, CENTER_CROP)
    np.testing.assert_allclose(features, np.broadcast_to(weights["fc7.bias"].clip(0), features.shape), atol=0.01)


def test_both_errors_are_in_the_manifest_and_the_rest_is_as_it_was(both: Path, artifact: Artifact) -> None:
    manifest = artifacts.load(both).manifest
    assert [(m.precision, m.crops) for m in manifest.measurements] == [
        ("float32", 1), ("float32", 10), ("int8", 1), ("int8", 10)
    ]  # fmt: skip
    assert len({(m.split, m.num_images) for m in manifest.measurements}) == 1
    assert manifest.measurements[0].split.endswith(", test")
    assert manifest.measurements[:2] == artifact.manifest.measurements
    assert manifest.files.items() > artifact.manifest.files.items()
    assert manifest.files["network.int8.onnx"].bytes < 0.75 * manifest.files["network.onnx"].bytes  # half isn't weights
    assert sorted(file.name for file in both.iterdir()) == sorted([*manifest.files, "manifest.json"])


def test_int8_that_is_worse_is_refused_and_leaves_nothing(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    shutil.copytree(artifact.path, path)
    lines: list[str] = []
    with pytest.raises(
        QuantizationError, match=r"on the validation images is .* points higher, above the -100 allowed"
    ):
        add_int8(path, str(images), None, 3, -100.0, "cpu", lines.append)
    assert any(", validation: " in line for line in lines)
    assert not any("test images" in line or ", test: " in line for line in lines)  # the test split decides nothing
    assert sorted(file.name for file in path.iterdir()) == sorted(file.name for file in artifact.path.iterdir())
    assert artifacts.load(path).manifest == artifact.manifest


@pytest.mark.parametrize(("allowed", "refused"), [(9.0, True), (11.0, False)])
def test_percentage_points_with_ten_crops_decide(
    artifact: Artifact, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float, refused: bool
) -> None:
    """Here int8 has 10 more errors in 100 validation images; the center crop and the test images don't matter."""
    path = shutil.copytree(artifact.path, tmp_path / "copy")
    errors = {("float32", 1): 0.2, ("float32", 10): 0.2, ("int8", 1): 0.9, ("int8", 10): 0.3}

    def measure(artifact: Artifact, dataset: Dataset, split: str, *_: object) -> list[Measurement]:
        return [
            Measurement(
                split=split, num_images=100, crops=crops, precision=precision, top1_error=error, top5_error=None
            )
            for (precision, crops), error in errors.items()
        ]

    monkeypatch.setattr("training.evaluation.quantize._measure", measure)
    if refused:
        with pytest.raises(QuantizationError, match=r"is 10\.00 percentage points higher, above the 9 allowed"):
            add_int8(path, str(images), None, 3, allowed, "cpu", print)
    else:
        added = add_int8(path, str(images), None, 3, allowed, "cpu", print).manifest.measurements
        assert [(m.precision, m.crops) for m in added if m.split == "test"] == list(errors)


def test_activation_ranges_are_those_of_training_images(
    artifact: Artifact, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out images, which judge int8, don't help to make it."""
    path, used = shutil.copytree(artifact.path, tmp_path / "copy"), list[bytes]()

    def keep_images(spec: object, weights: object, mean: object, batches: Iterable[np.ndarray], *_: object) -> None:
        used.extend(image.tobytes() for batch in batches for image in batch)
        raise QuantizationError("enough")

    monkeypatch.setattr("training.evaluation.quantize.quantize", keep_images)
    with pytest.raises(QuantizationError, match="enough"):
        add_int8(path, str(images), None, 7, 0.5, "cpu", print)
    training = load_dataset(str(images)).train
    known = {image.tobytes() for batch in decode_batches(training, DEFAULT_CONTRACT) for image in batch.images}
    assert (len(used), known.issuperset(used)) == (7, True)


@pytest.mark.slow
def test_copies_that_training_left_out_do_not_decide(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    path, data, dataset = make_leaky(artifact, images, tmp_path)
    lines: list[str] = []
    add_int8(path, str(data), None, 1000, 100.0, "cpu", lines.append)
    assert f"calibrating the activation ranges on {len(dataset.train)} training images" in lines
    assert any(f", validation: {len(dataset.validation)} images" in line for line in lines)


def test_other_images_are_refused(artifact: Artifact, few: Path) -> None:
    with pytest.raises(DatasetError, match="is split differently than in the network's training"):
        add_int8(artifact.path, str(few), None, 3, 1.0, "cpu", print)


def test_without_int8_it_cannot_be_chosen(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match=f"`{re.escape(alexnet_command())} quantize --artifact "):
        artifacts.load(artifact.path, "int8")


def test_a_file_is_replaced_without_a_moment_in_which_the_manifest_is_wrong(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy"
    shutil.copytree(both, path)

    def stop(*_: Path) -> None:
        raise OSError("disk full")

    def new(target: Path) -> list[artifacts.Measurement]:
        target.write_bytes(b"other")
        return []

    before = artifacts.load(path)
    with monkeypatch.context() as patched:
        patched.setattr(writer, "move_durably", stop)  # after the old record's end, before the new file is in place
        with pytest.raises(ArtifactError, match="disk full"):
            writer.add_file(before, "network.int8.onnx", new)
    assert "network.int8.onnx" not in artifacts.load(path).manifest.files
    after = writer.add_file(before, "network.int8.onnx", new)
    assert after.manifest.files["network.int8.onnx"].bytes == 5


def test_it_is_served_and_has_an_index_of_its_own(both: Path, index_path: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        IndexStoreError, match=r"a different network than .* in int8: choose .* --precision float32, or"
    ):
        Service(Settings(artifact=both, precision="int8", index=index_path))
    int8 = artifacts.load(both, "int8")
    own = int8.default_index_path(tmp_path / "indexes")
    assert own == tmp_path / "indexes" / "patterns" / "1-int8"
    index = FolderIndex.create(own, int8)
    build(index, OnnxModel(int8.network_path, "cpu"), find_images(images / "checks"))
    index.close()
    image = (images / "checks" / "01.jpg").read_bytes()
    service = Service(Settings(artifact=both, precision="int8", home=tmp_path))
    with TestClient(create_app(service)) as client:
        assert client.get("/info").json()["precision"] == "int8"
        assert 'precision="int8"' in client.get("/metrics").text
        assert client.post("/similar", content=image).json()["neighbors"][0]["distance"] < 1e-5
        assert len(client.post("/classify", content=image).json()["predictions"]) == 3
