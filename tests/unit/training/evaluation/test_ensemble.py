"""Several networks as one: the mean of their probabilities, and weights found on held-out images."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model.artifacts.artifact import MANIFEST, NETWORK, Artifact, Manifest
from model.artifacts.writer import publish
from model.exceptions import DatasetError, InvalidRequestError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.onnx_builder import constants
from model.runtime import OnnxModel
from training.data.datasets import Example
from training.data.folders import write_table
from training.data.loading import load_dataset
from training.data.training_data import count_left_out, count_training_images
from training.evaluation.ensemble import _loss, evaluate_ensemble, search_weights
from training.evaluation.evaluate import decode_batches
from training.evaluation.quantize import add_int8

GOOD = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
BAD = np.array([[0.1, 0.9], [0.9, 0.1], [0.45, 0.55]], np.float32)
TRUTH = np.array([0, 1, 0])


def test_a_useless_member_gets_no_weight() -> None:
    weights = search_weights(np.stack([BAD, GOOD]), TRUTH)
    np.testing.assert_allclose(weights, [0, 1])
    assert search_weights(np.stack([GOOD, GOOD]), TRUTH).sum() == pytest.approx(1)


def test_weights_lower_the_error() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, 300)
    signal = np.eye(10)[truth]
    members = np.stack([signal * s + generator.gumbel(size=(300, 10)) for s in (2.5, 2.0, 0.0)])
    members = np.exp(members) / np.exp(members).sum(2, keepdims=True)
    weights = search_weights(members.astype(np.float32), truth)

    def errors(w: np.ndarray) -> int:
        return int((np.tensordot(w, members, 1).argmax(1) != truth).sum())

    assert errors(weights) < errors(np.full(3, 1 / 3))
    assert weights[2] < 0.2


@pytest.mark.slow
def test_a_network_twice_is_itself(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    one = evaluate_ensemble([artifact.path], str(images), "test", device="cpu", log=print, output=tmp_path)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + one[0].num_images
    two = evaluate_ensemble([artifact.path] * 2, str(images), "test", device="cpu", log=print, weighted=True)
    assert [(m.top1_error, m.num_images, m.crops) for m in one] == [(m.top1_error, m.num_images, m.crops) for m in two]
    assert two[0].split == "patterns 75/10/15, seed 0, test, 2 networks"
    assert [m.top1_error for m in one] == [m.top1_error for m in artifact.manifest.measurements]


def publish_confused(artifact: Artifact, root: Path) -> Artifact:
    """The same network with its output layer's rows moved on by one: each class has the probability of another."""

    def write(folder: Path) -> Manifest:
        graph = onnx.load(str(artifact.network_path))
        for name in ("fc8.weight", "fc8.bias"):
            for tensor in constants(graph)[name]:
                moved = np.roll(numpy_helper.to_array(tensor), 1, axis=0)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
        onnx.save(graph, str(folder / NETWORK))
        return artifact.manifest

    return publish(root, artifact.manifest.name, artifact.labels, write)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_different_networks_is_measured(
    artifact: Artifact, images: Path, tmp_path: Path, weighted: bool
) -> None:
    """Of their ten-crop probabilities; with `weighted`, weights are found on the validation images."""
    confused, dataset = publish_confused(artifact, tmp_path / "artifacts"), load_dataset(str(images))
    members, model = [confused.path, artifact.path], OnnxModel(artifact.network_path, "cpu")

    def compute(examples: Sequence[Example], crops: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Both networks' probabilities (2, M, classes), and the labels (M,)."""
        pixels = np.concatenate([batch.images for batch in decode_batches(examples, artifact.image_contract)])
        right = model.run(pixels, crops)[0]
        return np.stack([np.roll(right, 1, axis=1), right]), np.array([example.label for example in examples])

    said, weights = list[str](), np.array([0.5, 0.5])
    if weighted:
        weights = search_weights(*compute(dataset.validation, TEN_CROP))
        assert weights[0] < 0.4
    measurements = evaluate_ensemble(
        members, str(images), "test", device="cpu", log=said.append, weighted=weighted, output=tmp_path
    )
    line_of_weights = "weights: " + ", ".join(
        f"{weight:.3f} {path}" for weight, path in zip(weights, members, strict=True)
    )
    assert [line for line in said if line.startswith("weights")] == ([line_of_weights] if weighted else [])
    for measured, crops in zip(measurements, (CENTER_CROP, TEN_CROP), strict=True):
        probabilities, labels = compute(dataset.test, crops)
        mean = weights[0] * probabilities[0] + weights[1] * probabilities[1]
        assert measured.top1_error == pytest.approx((mean.argmax(1) != labels).mean())
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == [artifact.labels[place].id for place in mean.argmax(1)]
    of_labels = mean[np.arange(len(labels)), labels]
    for column, expected in (("probability", mean.max(1)), ("label_probability", of_labels)):
        np.testing.assert_allclose([float(row[column]) for row in rows], expected, atol=1e-4)


def test_what_does_not_fit_is_refused(artifact: Artifact, images: Path, few: Path) -> None:
    with pytest.raises(InvalidRequestError, match="unknown --split"):
        evaluate_ensemble([artifact.path], str(images), "tests", device="cpu", log=print)
    with pytest.raises(InvalidRequestError, match="--weighted cannot measure on --split validation"):
        evaluate_ensemble([artifact.path] * 2, str(images), "validation", device="cpu", log=print, weighted=True)
    with pytest.raises(InvalidRequestError, match="--weighted is for several networks: repeat --artifact, or leave"):
        evaluate_ensemble([artifact.path], str(images), "test", device="cpu", log=print, weighted=True)
    with pytest.raises(DatasetError, match=r"is split differently.*/split\.csv, or measure .* with --split all"):
        evaluate_ensemble([artifact.path], str(few), "test", device="cpu", log=print)
    run = artifact.manifest.training["run"]
    with pytest.raises(DatasetError, match=rf"use the split of its run, --data runs/{run}/split\.csv$"):
        add_int8(artifact.path, str(few), None, 8, 100.0, "cpu", print)
    assert evaluate_ensemble([artifact.path], str(few), "all", device="cpu", log=print)[0].num_images == 33
    with pytest.raises(DatasetError, match=r"does not know 8 classes of elpv: .* \.\.\.; leave"):
        evaluate_ensemble([artifact.path], "elpv", "all", device="cpu", log=print)


def test_a_folder_may_have_images_of_some_classes(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """New photos needn't show every class; their labels are the network's, whatever their order in the folder."""
    names = [label.id for label in artifact.labels]
    for name in names[1:]:
        shutil.copytree(images / name, tmp_path / "new" / name)
    lines: list[str] = []
    new, tables = str(tmp_path / "new"), tmp_path / "tables"
    measured = evaluate_ensemble([artifact.path], new, "all", device="cpu", log=lines.append, output=tables)
    assert measured[0].top1_error < 0.5
    assert f"no images of 1 of the network's {len(names)} classes" in lines
    table = (tables / "per_class.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in table[1:]] == [
        [name, str(len(list((images / name).iterdir())) if name != names[0] else 0)] for name in names
    ]


def test_training_images_that_are_measured_are_counted(
    artifact: Artifact, images: Path, few: Path, tmp_path: Path
) -> None:
    """An error on training images says nothing about new images."""

    def measure(data: Path) -> tuple[str, str]:
        said = list[str]()
        (measured, *_) = evaluate_ensemble([artifact.path], str(data), "all", device="cpu", log=said.append)
        return measured.split, "\n".join(said)

    title, said = measure(images)
    assert title == "patterns 75/10/15, seed 0, all, with 69 training images"
    assert "the 90 images include 69 training images of the network: expect a higher error on new images" in said
    title, said = measure(few)
    assert (title, "training image" in said) == ("few 75/10/15, seed 0, all", False)
    title, said = measure(Path(shutil.copytree(few, tmp_path / "patterns")))
    assert title == "patterns 75/10/15, seed 0, all, perhaps with training images"
    assert "was trained on patterns, split differently: how many of these images it was trained on is unknown" in said


def test_training_images_of_the_networks_that_it_descends_from_are_counted(artifact: Artifact, images: Path) -> None:
    """A network still knows its ancestors' training images, even if it was trained on others since."""
    dataset, training = load_dataset(str(images)), artifact.manifest.training
    between = training | {"dataset": "others", "split_sha256": "1"}
    for ancestors, expected in (
        ([], 0),
        ([["patterns", dataset.split_sha256()]], len(dataset.train)),
        ([["flowers", "2"], ["patterns", "3"]], None),
    ):
        assert count_training_images(between | {"splits_of_ancestors": ancestors}, dataset) == expected
    kept = {"split_sha256": "4", "kept_splits": [dataset.split_sha256()]}
    assert count_training_images(training | kept, dataset) == len(dataset.train)
    assert count_training_images(training | {"splits_of_ancestors": [["patterns", "3"]]}, dataset) is None


def test_a_start_network_of_another_split_is_said(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    start = {"splits_of_ancestors": [[artifact.manifest.training["dataset"], "0" * 64]]}
    member = Path(shutil.copytree(artifact.path, tmp_path / "member"))
    manifest = artifact.manifest.model_copy(update={"training": artifact.manifest.training | start})
    (member / MANIFEST).write_text(manifest.model_dump_json())
    for path, expected in ((artifact.path, False), (member, True)):
        said = list[str]()
        (measured, *_) = evaluate_ensemble([path], str(images), "test", device="cpu", log=said.append)
        assert any("was trained on another split of patterns" in line for line in said) == expected
        assert measured.split.endswith(", perhaps with training images") == expected


def test_new_images_may_be_of_one_class(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """No network is trained on them, so one image is enough, however training split its data."""
    name = artifact.labels[1].id
    first = min((images / name).iterdir())
    (tmp_path / "new" / name).mkdir(parents=True)
    shutil.copy(first, tmp_path / "new" / name)
    (tmp_path / "new.csv").write_text(f"path,label\n{first},{name}\n")
    member = Path(shutil.copytree(artifact.path, tmp_path / "member"))
    for method in ("own", "half", "neighborhood"):
        training = artifact.manifest.training | {"split_method": method}
        (member / MANIFEST).write_text(artifact.manifest.model_copy(update={"training": training}).model_dump_json())
        for new in ("new", "new.csv"):
            data = str(tmp_path / new)
            (measured, *_) = evaluate_ensemble([member], data, "all", device="cpu", log=print)
            assert measured.num_images == 1
            with pytest.raises(DatasetError, match="only one class in"):
                evaluate_ensemble([member], data, "test", device="cpu", log=print)


def test_what_training_left_out_and_is_measured_is_counted(artifact: Artifact, images: Path) -> None:
    """A validation image that copies a test image doesn't steer training, but is among the measured images."""
    manifest = artifact.manifest
    counts = dict(manifest.training["images"])
    counts["validation"] -= 2
    fewer = manifest.training | {"images": counts}
    examples = load_dataset(str(images)).validation
    assert count_left_out(manifest.training, examples, "validation") == 0
    assert count_left_out(fewer, examples, "validation") == 2
    assert count_left_out({}, examples, "validation") == 0


def test_a_network_is_measured_on_the_earlier_split_that_it_kept(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    """There, its errors are compared with the earlier network's."""
    write_table(load_dataset(str(few)), tmp_path / "split.csv")
    first = load_dataset(str(tmp_path / "split.csv"))
    images = {split: len(examples) + 5 for split, examples in first.splits().items()}
    training = {"split_method": "earlier", "kept_splits": [first.split_sha256()], "images": images}
    member = Path(shutil.copytree(artifact.path, tmp_path / "member"))
    manifest = artifact.manifest.model_copy(update={"training": artifact.manifest.training | training})
    (member / MANIFEST).write_text(manifest.model_dump_json())
    table, said = str(tmp_path / "split.csv"), list[str]()
    (measured, *_) = evaluate_ensemble([member], table, "test", device="cpu", log=said.append)
    assert measured.num_images == len(first.test)
    assert not [line for line in said if "training left out" in line]
    for paths, weighted in (([artifact.path], False), ([member, member], True)):
        with pytest.raises(DatasetError, match="is split differently"):
            evaluate_ensemble(paths, table, "test", device="cpu", log=print, weighted=weighted)
    with pytest.raises(DatasetError, match="is split differently"):
        add_int8(member, table, None, 8, 100.0, "cpu", print)


def test_weights_are_not_chosen_on_copies_of_test_images(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    """Training, calibration and quantization leave them out, too. A split without images is reported."""
    data = tmp_path / "data"
    for kind in sorted(few.iterdir()):
        for number, file in enumerate(sorted(kind.iterdir())):
            split = ("train", "validation", "test")[number % 3]
            (data / split / kind.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, data / split / kind.name)
    copied = next((data / "test").rglob("*.jpg"))
    shutil.copy(copied, data / "validation" / copied.parent.name / "copy.jpg")
    dataset, said = load_dataset(str(data)), list[str]()
    images = {split: len(examples) for split, examples in dataset.splits().items()}
    images["validation"] -= 1
    training = {"split_sha256": dataset.split_sha256(), "images": images}
    member = Path(shutil.copytree(artifact.path, tmp_path / "member"))
    manifest = artifact.manifest.model_copy(update={"training": artifact.manifest.training | training})
    (member / MANIFEST).write_text(manifest.model_dump_json())
    evaluate_ensemble([member] * 2, str(data), "test", device="cpu", log=said.append, weighted=True)
    assert "left out as in training: 1 copy of a held-out image" in said
    shutil.rmtree(data / "test")
    with pytest.raises(InvalidRequestError, match="has no test images: choose --split validation, or all"):
        evaluate_ensemble([member], str(data), "test", device="cpu", log=print)


@pytest.mark.parametrize(("label", "top5", "top1"), [(0, 0, 0), (1, 0, 1), (4, 0, 1), (5, 1, 1)])
def test_a_class_at_the_sixth_place_is_a_top5_error(label: int, top5: int, top1: int) -> None:
    probabilities = np.array([[[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]]], np.float32)
    assert _loss(probabilities, np.array([label]), np.ones(1))[:2] == (top5, top1)
