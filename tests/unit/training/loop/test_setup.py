"""Setup of a run: what was read is summed up, and what was skipped is listed."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.artifacts.artifact import MANIFEST, Artifact
from model.artifacts.weights import read_weights
from model.exceptions import DatasetError, TrainingError
from model.images.contract import ImageContract
from model.images.preprocess import decode_image
from tests.helpers.drawings import encode
from tests.helpers.drawn_files import make_image, write_files
from tests.helpers.narrow_network import NARROW
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig
from training.evaluation.baselines import START, Baseline, read_baselines
from training.loop import setup
from training.loop.checkpoint_state import CheckpointState
from training.loop.distributed import DistributedContext
from training.loop.engine import TrainingEngine, ValidationScores
from training.loop.run_directory import ARTIFACT, CONFIG, SPLIT, RunDirectory
from training.loop.setup import set_up
from training.loop.trainer import Best, Trainer
from training.optim.range_test import RangeTest, read_range_test
from training.publish.export_run import provenance


def test_the_images_are_summed_up(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "photos"
    shutil.copytree(few, root)
    (root / "checks" / "cut.jpg").write_bytes((root / "checks" / "00.jpg").read_bytes()[:900])
    (root / "cover.jpg").write_bytes((root / "checks" / "00.jpg").read_bytes())
    config = TrainConfig.create(
        network_options=NARROW,
        run=RunOptions(name="photos"),
        environment=Environment(
            data=str(root),
            precision="float32",
            home=tmp_path,
            exclude=("circles/0*",),
            list_skipped=tmp_path / "skipped.tsv",
        ),
    )
    with set_up(config, DistributedContext(torch.device("cpu"))) as trainer:
        summary = trainer.dataset.summary(trainer.cache.skipped)
    printed = capsys.readouterr().out
    assert str(summary) in printed
    assert "a bundled network is also called photos; use --name to choose another name for yours" in printed
    assert summary.skipped == {"excluded": 10, "outside the class folders": 1, "damaged images": 1}
    assert (summary.num_found, summary.num_used, sum(summary.splits.values())) == (35, 23, 23)
    reasons = [line.split("\t")[1] for line in (tmp_path / "skipped.tsv").read_text().splitlines()]
    assert sorted(set(reasons)) == ["damaged images", "excluded", "outside the class folders"]
    assert len(reasons) == 12


CONTEXT = DistributedContext(torch.device("cpu"))


def start_run(few: Path, home: Path) -> Trainer:
    """A run with a checkpoint, but no steps done, whose lock is free."""
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        NARROW,
        environment=Environment(data=str(few), precision="float32", home=home),
    )
    with set_up(config, CONTEXT) as trainer:
        trainer.save()
    return trainer


def test_a_resumed_run_keeps_its_split(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even if the run whose split it kept is gone; the split's description and origin are kept, too."""
    data = Path(shutil.copytree(few, tmp_path / few.name))
    first = start_run(data, tmp_path / "first")
    shutil.copy(few / "checks" / "00.jpg", data / "checks" / "new.jpg")
    config = replace(first.config, run=replace(first.config.run, seed=1, split_from=first.run.path))
    config = replace(config, environment=replace(config.environment, home=tmp_path))
    with set_up(config, CONTEXT) as second:
        second.save()
    described = f"(33 images as in {first.run.path.name}/split.csv, 1 new one drawn, 0 gone)"
    assert described in capsys.readouterr().out
    shutil.rmtree(first.run.path)
    with set_up(second.config, CONTEXT, second.run.path) as resumed:
        assert resumed.dataset.splits() == second.dataset.splits()
        assert resumed.dataset.kept_splits == (first.dataset.split_sha256(),)
        assert described in resumed.dataset.split_description
        recorded = provenance(resumed)
    assert (recorded["split_method"], recorded["kept_splits"]) == ("earlier", [first.dataset.split_sha256()])
    with pytest.raises(DatasetError, match="can't read the split"), set_up(config, CONTEXT):
        pass


def test_a_run_is_locked_before_its_checkpoint_is_read(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that had the lock may have saved a newer checkpoint, whose steps would be lost."""
    trainer = start_run(few, tmp_path)
    load_checkpoint = RunDirectory.load_checkpoint

    def load(run: RunDirectory) -> CheckpointState:
        with pytest.raises(TrainingError, match="another process is working on the run"), RunDirectory(run.path):
            pass
        return load_checkpoint(run)

    monkeypatch.setattr(RunDirectory, "load_checkpoint", load)
    with set_up(trainer.config, CONTEXT, trainer.run.path) as resumed:
        assert resumed.run.path == trainer.run.path


def test_a_refused_resumption_leaves_the_run_as_it_was(few: Path, tmp_path: Path) -> None:
    trainer = start_run(few, tmp_path)
    config, run = trainer.config, trainer.run.path
    (run / ARTIFACT).write_text(str(tmp_path))
    (tmp_path / MANIFEST).touch()
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    other = replace(config, recipe=replace(config.recipe, learning_rate=0.5))
    with pytest.raises(TrainingError, match=r"recipe\.learning_rate is 0\.5"), set_up(other, CONTEXT, run):
        pass
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before


def test_a_run_whose_images_changed_is_not_resumed(few: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(few, tmp_path / few.name))
    run = start_run(data, tmp_path)
    (changed,) = (example.path for example in run.dataset.validation if example.label == 0)
    before = changed.read_bytes()
    changed.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    refusal = f"1 image changed since this run began, such as {re.escape(str(changed))}, or --max-pixels now"
    with pytest.raises(TrainingError, match=refusal), set_up(run.config, CONTEXT, run.run.path):
        pass
    changed.write_bytes(before)
    with set_up(run.config, CONTEXT, run.run.path) as resumed:
        assert resumed.run.path == run.run.path


def test_a_run_with_another_number_of_images_is_not_resumed(few: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(few, tmp_path / few.name))
    run = start_run(data, tmp_path)
    (run.run.path / SPLIT).unlink()  # else the images' names refuse it
    run.dataset.train[0].path.unlink()
    number = len(run.dataset.examples)
    refusal = f"the run began with {number} images, but now there are {number - 1}: restore the original images"
    with pytest.raises(TrainingError, match=refusal), set_up(run.config, CONTEXT, run.run.path):
        pass


def test_the_manifest_and_the_report_say_what_was_read(artifact: Artifact) -> None:
    data = artifact.manifest.training["data"]
    assert (data["found"], data["used"], data["classes"]) == (90, 90, 3)
    assert sum(data["splits"].values()) == 90
    (report,) = artifact.path.parents[2].glob("runs/*/report.html")
    assert "patterns: 90 found, 90 used, 0 skipped" in report.read_text(encoding="utf-8")


def test_options_are_refused_before_an_image_is_read(few: Path, tmp_path: Path) -> None:
    """With all other options at their defaults, only an output layer is fitted to the bundled network."""
    config = TrainConfig.create(RecipeOptions(mirror=False), environment=Environment(data=str(few), home=tmp_path))
    with (
        pytest.raises(TrainingError, match="--no-mirror would have no effect: add --epochs"),
        set_up(config, DistributedContext(torch.device("cpu"))),
    ):
        pass
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == ["networks"]


@pytest.mark.parametrize(
    ("best_rate", "used", "said"),
    [
        (0.0125, 0.0125, "range test: learning rate 0.0125 instead of 0.002"),
        (None, 0.002, "range test: no learning rate clearly lowered the loss in 2 steps; keeping 0.002"),
    ],
)
def test_a_run_uses_the_rate_that_it_found_but_no_weight_of_the_test(
    artifact: Artifact,
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    best_rate: float | None,
    used: float,
    said: str,
) -> None:
    test, before = RangeTest((0.1, 1.0), (2.0, 9.0), best_rate), list[Best]()

    def spoil_weights(trainer: Trainer, fitted: bool) -> RangeTest:
        before.append(trainer.best)
        with torch.no_grad():
            for parameter in trainer.engine.network.parameters():
                parameter.fill_(float("nan"))
        assert not fitted
        return test

    monkeypatch.setattr(setup, "run_range_test", spoil_weights)
    environment = Environment(str(few), device="cpu", precision="float32", find_rate=True, home=tmp_path)
    config = TrainConfig.create(
        RecipeOptions(epochs=1), run=RunOptions(init_from=artifact.path), environment=environment
    )
    with set_up(config, CONTEXT) as trainer:
        assert said in capsys.readouterr().out
        assert read_range_test(trainer.run.path) == test
        written = json.loads((trainer.run.path / CONFIG).read_text())
        rates = (trainer.config.recipe.learning_rate, trainer.recipe.learning_rate, trainer.learning_rate)
        assert (*rates, written["recipe"]["learning_rate"]) == (used,) * 4
        weights = trainer.weights()
        for name, values in read_weights(artifact)[1].items():
            assert np.array_equal(weights[name].numpy(), values), name
        assert np.isfinite(trainer.best.error)  # the start network's, which was measured before the test
        assert [trainer.best] == before


def test_the_images_of_the_recipe_photos(tmp_path: Path) -> None:
    """Their mean has one value per channel; held-out images are reduced, training images only when they are degraded.

    Near-duplicates of held-out images are left out if that is asked for.
    """
    places = [
        f"{split}/{kind}/{n}.png" for split in ("train", "val", "test") for kind in ("cat", "dog") for n in (0, 1)
    ]
    files = {place: make_image(number) for number, place in enumerate(places)}
    with Image.open(io.BytesIO(files["test/cat/0.png"])) as copied:
        files["train/cat/again.jpg"] = encode(np.asarray(copied))
    data = write_files(tmp_path / "data", files)
    config = TrainConfig.create(
        RecipeOptions("photos"),
        NARROW,
        RunOptions(drop_near_duplicates=True),
        Environment(str(data), device="cpu", precision="float32", home=tmp_path),
    )
    with set_up(config, CONTEXT) as trainer:
        cache, dataset = trainer.cache, trainer.dataset
        skipped = [(Path(entry.path).name, entry.reason) for entry in cache.skipped.values()]
        assert skipped == [("again.jpg", "near-duplicates of held-out images")]
        assert trainer.config.run.detail == 48
        assert np.array_equal(cache.mean, np.broadcast_to(cache.mean[0, 0], (256, 256, 3)))
        for split, detail in (("train", None), ("validation", 48), ("test", 48)):
            rows = cache.rows(dataset, split)
            for row, pixels in zip(rows, cache.read(rows), strict=True):
                image = decode_image(dataset.examples[row].path.read_bytes(), contract=ImageContract(detail))
                assert np.array_equal(pixels, image.pixels), split


def test_a_start_network_is_measured_once_on_validation_images(
    artifact: Artifact, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a test split they are also the held-out images, on which it is a baseline."""
    for kind in images.iterdir():
        for place, file in enumerate(sorted(kind.iterdir())[:6]):
            target = tmp_path / "data" / ("validation" if place % 3 else "train") / kind.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    measured, validate = list[float](), TrainingEngine.validate

    def keep_error(engine: TrainingEngine, *given: Any) -> ValidationScores:
        scores = validate(engine, *given)
        measured.append(scores.top1_error)
        return scores

    monkeypatch.setattr(TrainingEngine, "validate", keep_error)
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        run=RunOptions(init_from=artifact.path),
        environment=Environment(data=str(tmp_path / "data"), device="cpu", precision="float32", home=tmp_path),
    )
    with set_up(config, CONTEXT) as trainer:
        (error,) = measured
        assert trainer.dataset.held_out_split == "validation"
        expected = Baseline(START, "validation", error, len(trainer.validation_rows), 0)
        assert read_baselines(trainer.run.path) == [expected]
