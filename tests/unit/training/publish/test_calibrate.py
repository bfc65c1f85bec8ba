"""`alexnet calibrate` publishes the same network once more, with a temperature and with familiarity."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import MANIFEST, Artifact
from model.artifacts.familiarity import FAMILIARITY, read_familiarity
from model.artifacts.measurements import format_measurements
from model.artifacts.weights import read_weights
from model.exceptions import ArtifactError, DatasetError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.temperature import read_temperature, write_temperature
from model.runtime import OnnxModel
from tests.helpers.commands import invoke
from tests.helpers.leaky_splits import make_leaky
from training.data.loading import load_dataset
from training.evaluation.evaluate import decode_batches
from training.publish.calibrate import calibrate, calibrate_artifact, describe_calibration, few_images_warning


def test_training_calibrates(artifact: Artifact, images: Path) -> None:
    manifest, dataset = artifact.manifest, load_dataset(str(images))
    assert manifest.calibration is not None
    assert manifest.calibration.temperature == read_temperature(artifact.network_path) != 1
    assert manifest.calibration.num_images == len(dataset.validation)
    assert manifest.calibration.num_training_images == len(dataset.train)
    for measurement in manifest.measurements:
        assert measurement.calibration_error is not None
        assert 0 <= measurement.calibration_error < 1
        assert measurement.calibration_error != measurement.uncalibrated_error
    assert "expected calibration error" in format_measurements(manifest.measurements)
    sentence = describe_calibration(manifest)
    assert f"temperature {manifest.calibration.temperature:.3f}, which was fitted to" in sentence
    assert f"{manifest.measurements[1].uncalibrated_error:.3f} before and" in sentence
    assert sentence.endswith("Unfamiliar images aren't flagged: this needs 50 validation images.")
    enough = manifest.calibration.model_copy(update={"num_images": 50})
    assert "unfamiliar" not in describe_calibration(manifest.model_copy(update={"calibration": enough}))
    int8 = [m.model_copy(update={"precision": "int8"}) for m in manifest.measurements]  # as `alexnet quantize` adds
    quantized = manifest.model_copy(update={"measurements": [*manifest.measurements, *int8]})
    assert describe_calibration(quantized) == sentence


def test_a_published_artifact_becomes_the_next_version(
    artifact: Artifact, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(artifact.path, tmp_path / "patterns" / "1"))
    lines: list[str] = []
    again = calibrate_artifact(source, str(images), None, (), 1000, "cpu", lines.append)
    assert again.path == tmp_path / "patterns" / "2"
    assert "warning: calibrated on 9 validation images: probabilities" in capsys.readouterr().out
    assert "unfamiliar images aren't flagged: this needs 50 validation images" in few_images_warning(9)
    assert few_images_warning(50) == ""
    assert again.manifest.calibration is not None
    assert artifact.manifest.calibration is not None
    first, second = artifact.manifest.calibration.temperature, again.manifest.calibration.temperature
    assert second == pytest.approx(first, rel=1e-3)  # refitted from the calibrated network
    before, after = (read_weights(one)[1] for one in (artifact, again))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert len(again.manifest.measurements) == len(artifact.manifest.measurements)
    assert "dropped 2 measurements made with the previous temperature; version 1 still has them" in lines
    with pytest.raises(DatasetError, match="expected the artifact's classes"):
        calibrate_artifact(source, "elpv", None, (), 1000, "cpu", lines.append)


def test_errors_with_the_temperature_before_are_left_out(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Even errors on all held-out images, if only some are measured again; but what a publisher reports stays."""
    source = Path(shutil.copytree(artifact.path, tmp_path / "patterns" / "1"))
    first, second = artifact.manifest.measurements
    published = second.model_copy(update={"published": True})
    manifest = artifact.manifest.model_copy(update={"measurements": [published, first, second]})
    (source / MANIFEST).write_text(manifest.model_dump_json())
    again = calibrate_artifact(source, str(images), None, (), 6, "cpu", lambda line: None)
    measurements = again.manifest.measurements
    assert [(m.num_images, m.crops, m.published) for m in measurements] == [
        (second.num_images, 10, True), (6, 1, False), (6, 10, False)
    ]  # fmt: skip


def test_indexes_of_earlier_versions_are_named(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    options = ("--data", images, "--home", tmp_path, "--device", "cpu")
    assert "the indexes in" not in invoke("calibrate", *options)
    (tmp_path / "indexes" / "patterns" / "1").mkdir(parents=True)
    assert f"the indexes in {tmp_path}/indexes/patterns belong to earlier versions" in invoke("calibrate", *options)


def test_copies_that_training_left_out_are_not_calibrated_on(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    path, data, dataset = make_leaky(artifact, images, tmp_path)
    lines: list[str] = []
    calibration = calibrate_artifact(path, str(data), None, (), 1000, "cpu", lines.append).manifest.calibration
    assert calibration is not None
    assert (calibration.num_training_images, calibration.num_images) == (len(dataset.train), len(dataset.validation))
    assert "left out as in training: 2 copies of held-out images" in lines


@pytest.mark.parametrize("path", [".", "../1"])
def test_a_path_that_does_not_name_the_artifact(
    artifact: Artifact, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(shutil.copytree(artifact.path, tmp_path / "patterns" / "1"))
    again = calibrate_artifact(Path(path), str(images), None, (), 10, "cpu", lambda line: None)
    assert again.path == tmp_path / "patterns" / "2"


def test_a_folder_of_another_name_is_refused_before_the_work(artifact: Artifact, tmp_path: Path) -> None:
    """The data aren't even looked for."""
    source = Path(shutil.copytree(artifact.path, tmp_path / "models" / "best"))
    with pytest.raises(ArtifactError, match=r"must be in one named patterns, .* copy it to patterns/1 and calibrate"):
        calibrate_artifact(source, "nowhere", None, (), 10, "cpu", lambda line: None)
    assert sorted(tmp_path.rglob("manifest.json")) == [source / "manifest.json"]


def test_without_validation_images_the_temperature_is_1(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    network = Path(shutil.copy(artifact.network_path, tmp_path))
    write_temperature(network, 3.0)
    train = load_dataset(str(images)).train
    calibration = calibrate(tmp_path, train, (), "none", artifact.image_contract, True)
    assert (calibration.temperature, calibration.split, calibration.num_images) == (1, None, 0)
    assert read_temperature(network) == 1
    assert not (tmp_path / FAMILIARITY).exists()
    sentence = describe_calibration(artifact.manifest.model_copy(update={"calibration": calibration}))
    assert sentence.endswith("since there are no validation images: the temperature is 1.")
    assert "alexnet calibrate" in describe_calibration(artifact.manifest.model_copy(update={"calibration": None}))


def test_familiarity_compares_with_the_validation_images(artifact: Artifact, images: Path) -> None:
    """The artifact's reference has their scores, from the center crop and from ten crops."""
    familiarity = read_familiarity(artifacts.load(artifact.path))
    assert familiarity is not None
    assert sorted(familiarity.references) == [1, 10]
    model, validation = OnnxModel(artifact.network_path, "cpu"), load_dataset(str(images)).validation
    pixels = np.concatenate([batch.images for batch in decode_batches(validation, artifact.image_contract)])
    for crops in (CENTER_CROP, TEN_CROP):
        reference = familiarity.references[len(crops)]
        features = model.features(pixels, crops)
        lengths, distances = familiarity.measure(features)
        assert reference.log_length_stats == pytest.approx((lengths.mean(), lengths.std()), rel=1e-3)
        assert reference.distance_stats == pytest.approx((distances.mean(), distances.std()), rel=1e-3)
        np.testing.assert_allclose(reference.scores, np.sort(familiarity.scores(features, len(crops))), atol=1e-2)
