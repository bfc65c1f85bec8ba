"""What a run takes over from its start network (output layer, mean, recipe), and which network that is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifacts.artifact import MANIFEST, Artifact
from model.artifacts.weights import read_mean, read_weights
from model.exceptions import TrainingError
from model.images.contract import ImageContract
from model.images.crops import TEN_CROP
from model.network.export import run_torch
from model.network.torch_module import AlexNet
from tests.helpers.narrow_network import NARROW
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.default_start import MIN_SCRATCH_IMAGES
from training.evaluation.baselines import LINEAR, NEAREST_NEIGHBOR, START, read_baselines
from training.evaluation.linear_probe import LinearProbe
from training.loop import start_network
from training.loop.distributed import DistributedContext
from training.loop.setup import fits_output_layer, set_up
from training.loop.start_network import choose_initial_network, draw_crops, fit_output_layer
from training.optim.initial_weights import InitialState
from training.publish.export_run import combine_licenses
from training.publish.summary import REPORT_DATA
from training.train import train_run

DEVICE = torch.device("cpu")


def create(few: Path, home: Path, start: Path | str = "auto", **recipe: object) -> TrainConfig:
    environment = Environment(str(few), device="cpu", precision="float32", crops=1, home=home)
    return TrainConfig.create(
        RecipeOptions(**recipe),  # type: ignore[arg-type]
        run=RunOptions(name="few", init_from=start),  # type: ignore[arg-type]
        environment=environment,
    )


@pytest.mark.slow
def test_the_output_layer_names_the_validation_images(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    dataset = load_folder(few)
    other = replace(
        dataset, labels=tuple(label.model_copy(update={"id": f"new {label.id}"}) for label in dataset.labels)
    )
    config = create(few, tmp_path, artifact.path)
    initial = InitialState.create(config, other.labels)
    assert initial.new_layers == ("fc8",)
    assert initial.mean is not None
    cache = build_cache(dataset, tmp_path).with_mean(initial.mean)
    fitted = fit_output_layer(initial, config, other, cache, DEVICE)
    assert fitted.baselines[1].top1_error < 1 / 3
    assert [baseline.method for baseline in fitted.baselines] == [NEAREST_NEIGHBOR, LINEAR]
    assert fitted.initial.origin.endswith("fc8 fitted to its features")
    for name, values in initial.weights.items():
        assert torch.equal(values, fitted.initial.weights[name]) == (not name.startswith("fc8")), name


def test_the_output_layer_is_fitted_to_the_features_that_are_served(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even for a network that subtracts the mean image's center from every crop, as in the recipe `source`."""
    dataset = load_folder(few)
    source = TrainConfig.create(RecipeOptions("source", initialization="he"), NARROW, RunOptions(init_from="none"))
    mean = np.random.default_rng(0).uniform(0, 255, (256, 256, 3)).astype(np.float32)
    initial = replace(InitialState.create(source, dataset.labels), mean=mean)
    assert initial.spec.config.mean == "center"
    cache = build_cache(dataset, tmp_path).with_mean(mean)
    given = dict[str, tuple[Any, ...]]()

    def keep_features(features: np.ndarray, *arguments: Any) -> LinearProbe:
        given["probe"] = (features.copy(), *arguments)
        return LinearProbe(np.zeros((3, 16), np.float32), np.zeros(3, np.float32), 0.0)

    def keep_neighbors(*arguments: np.ndarray) -> float:
        given["neighbors"] = arguments
        return 0.0

    monkeypatch.setattr(start_network, "fit_linear_probe", keep_features)
    monkeypatch.setattr(start_network, "nearest_neighbor_error", keep_neighbors)
    monkeypatch.setattr(start_network, "draw_crops", lambda count, generator: np.tile([4, 0, 8], (count, 1)))
    config = create(few, tmp_path, tmp_path, class_weights=True)
    config = replace(config, environment=replace(config.environment, crops=10))
    fit_output_layer(initial, config, dataset, cache, DEVICE)
    served = AlexNet(initial.spec)
    served.load_state_dict(initial.weights)
    labels = {split: [example.label for example in examples] for split, examples in dataset.splits().items()}

    def check(features: np.ndarray, split: str, crop: int) -> None:
        images = cache.images.read(cache.rows(dataset, split))
        expected = 0.5 * run_torch(served, mean, images, (crop,))[1]  # dropout's factor in evaluation
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * expected.max())

    features, train_labels, validation_features, validation_labels, num_classes, balanced = given["probe"]
    for place, crop in enumerate((4, 0, 8)):
        check(features[place::3], "train", crop)
        assert train_labels[place::3].tolist() == labels["train"]
    for place, crop in enumerate((4, *(crop for crop in TEN_CROP if crop != 4))):
        check(validation_features[:, place], "validation", crop)
    assert (validation_labels.tolist(), num_classes, balanced) == (labels["validation"], 3, True)
    features, train_labels, test_features, test_labels = given["neighbors"]
    check(features, "train", 4)
    check(test_features, "test", 4)
    assert (train_labels.tolist(), test_labels.tolist()) == (labels["train"], labels["test"])


def test_a_run_without_an_epoch_publishes_the_fitted_layer(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    """The start network's mean, features and terms are kept; images are read as the run says."""
    start_path = Path(shutil.copytree(artifact.path, tmp_path / "start"))
    manifest = artifact.manifest.model_copy(update={"license": "research only"})
    (start_path / MANIFEST).write_text(manifest.model_dump_json())
    folder = tmp_path / "renamed"
    for place, kind in enumerate(sorted(few.iterdir())):
        (folder / f"class {place}").parent.mkdir(exist_ok=True)
        (folder / f"class {place}").symlink_to(kind)
    config = create(folder, tmp_path, start_path, epochs=0)
    run = train_run(replace(config, run=replace(config.run, color_profiles=False)))
    assert run is not None
    tuned = run.artifact
    assert tuned.image_contract == ImageContract(color_profiles=False)
    assert tuned.manifest.license == combine_licenses(load_folder(folder).license, "research only")
    assert tuned.manifest.license.endswith("research only (of the network it started from)")
    training = tuned.manifest.training
    assert (training["epochs"], training["recipe"]["name"]) == (0, "fine-tune")
    assert training["initialized_from"].startswith("patterns version 1, network ")
    assert training["start_license"] == "research only"
    start = artifact.manifest.training
    assert training["splits_of_ancestors"] == [[start["dataset"], start["split_sha256"]]]
    again = InitialState.from_published(tuned)
    assert again.splits == ((start["dataset"], start["split_sha256"]),)
    assert np.array_equal(read_mean(tuned), read_mean(artifact))
    assert tuned.manifest.measurements[0].top1_error < 1 / 3
    assert len(read_baselines(run.path)) == 3
    assert "no epochs: only the output layer was fitted" in (run.path / "report.html").read_text()


def test_a_network_that_training_makes_no_better_is_published_as_it_was(
    artifact: Artifact, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = create(images, tmp_path, artifact.path, epochs=1, learning_rate=0.0)
    run = train_run(replace(config, environment=replace(config.environment, publish="best")))
    assert run is not None
    tuned = run.artifact
    assert (tuned.manifest.training["epochs"], tuned.manifest.training["published_epoch"]) == (1, 0)
    (start,) = [baseline for baseline in read_baselines(run.path) if baseline.method == START]
    center = next(m for m in tuned.manifest.measurements if m.crops == 1)
    assert start.top1_error == pytest.approx(center.top1_error)
    assert start.num_images == center.num_images
    assert "no epoch was better than the start network" in json.loads((run.path / REPORT_DATA).read_text())["verdict"]
    assert "before the first epoch: validation error " in capsys.readouterr().out
    _, before = read_weights(artifact)
    for name, values in read_weights(tuned)[1].items():
        assert np.array_equal(values, before[name]), name


def test_a_run_that_would_train_nothing_is_refused(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    config = create(images, tmp_path, artifact.path)  # same classes: there is no output layer to fit
    with pytest.raises(TrainingError, match="nothing would be trained"), set_up(config, DistributedContext(DEVICE)):
        pass
    assert not (tmp_path / "runs").exists()


def test_options_without_an_effect_are_refused(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    config = create(few, tmp_path, artifact.path, augment="boxes")
    dataset = load_folder(few)
    labels = tuple(label.model_copy(update={"id": f"new {label.id}"}) for label in dataset.labels)
    with pytest.raises(TrainingError, match="only the output layer is fitted, so --augment would have no effect"):
        fits_output_layer(config, InitialState.create(config, labels))


def test_starting_from_nothing_is_said(few: Path, tmp_path: Path) -> None:
    config, text = choose_initial_network(create(few, tmp_path, name="paper"), 5)
    assert config.run.init_from == "none"
    assert text == "starting from random weights; --init-from photos starts from the bundled network"


def test_the_start_is_chosen_by_the_number_of_images(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = tmp_path / "photos"
    monkeypatch.setattr(start_network, "unpack_bundled", lambda name, root: type("A", (), {"path": bundled / name}))
    config = create(few, tmp_path)
    assert (config.recipe.name, config.run.init_from) == ("small", "auto")
    tuned, text = choose_initial_network(config, MIN_SCRATCH_IMAGES - 1)
    assert (tuned.recipe.name, tuned.run.init_from, tuned.recipe_if_fine_tuning) == (
        "fine-tune",
        bundled / "photos",
        None,
    )
    assert "--init-from none" in text
    scratch, text = choose_initial_network(config, MIN_SCRATCH_IMAGES)
    assert (scratch.recipe.name, scratch.run.init_from, scratch.recipe_if_fine_tuning) == ("small", "none", None)
    assert f"{MIN_SCRATCH_IMAGES:,} training images" in text
    (tmp_path / "photos").mkdir()  # a folder of images
    monkeypatch.chdir(tmp_path)
    named, _ = choose_initial_network(create(few, tmp_path, Path("photos")), 5)
    assert (named.recipe.name, named.run.init_from) == ("fine-tune", bundled / "photos")


def test_another_network_or_recipe_starts_from_nothing(few: Path, tmp_path: Path) -> None:
    assert create(few, tmp_path, name="paper").run.init_from == "none"
    assert TrainConfig.create(network_options=NetworkOptions(hidden=64)).run.init_from == "none"
    with pytest.raises(TrainingError, match="--epochs 0 needs a network"):
        create(few, tmp_path, "none", epochs=0)


def test_the_images_mean_stays_where_nothing_is_copied(few: Path, tmp_path: Path) -> None:
    config = TrainConfig.create(
        network_options=NARROW,
        environment=Environment(str(few), home=tmp_path),
    )
    with set_up(config, DistributedContext(DEVICE)) as trainer:
        assert trainer.initial.mean is None
        assert np.array_equal(trainer.cache.mean, build_cache(load_folder(few), tmp_path / "cache").mean)


@pytest.mark.parametrize(("num_images", "count"), [(10, 10), (5_000, 4), (20_000, 2)])
def test_the_center_crop_comes_first(num_images: int, count: int) -> None:
    crops = draw_crops(num_images, np.random.default_rng(0))
    assert crops.shape == (num_images, count)
    assert (crops[:, 0] == 4).all()
    assert all(len(set(row)) == count for row in crops[:10].tolist())
