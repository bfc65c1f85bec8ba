"""The result of a training, in sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.artifacts.artifact import Artifact, Measurement
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig
from training.data.data_check import check_data
from training.data.folders import load_folder
from training.evaluation.baselines import LINEAR, START, Baseline
from training.publish.summary import (
    TRAIN_ALL_LAYERS,
    RunSummary,
    format_duration,
    majority_class_baseline,
    next_commands,
)


@pytest.fixture
def summary(artifact: Artifact, few: Path) -> RunSummary:
    measured = Measurement(split="x", num_images=18, crops=10, top1_error=0.0, top5_error=None)
    return RunSummary(artifact, measured, "test", [], check_data(load_folder(few)), 4, 60.0, [])


def test_the_first_sentence(summary: RunSummary) -> None:
    assert summary.result == "18 of 18 test images right; 95 % interval 82 to 100 %"
    assert summary.doubt == summary.verdict == ""
    assert "no test split" in replace(summary, split="validation").doubt


def test_a_start_network_of_another_split_is_a_doubt(summary: RunSummary) -> None:
    """Its training images may be among the measured images."""
    training = summary.artifact.manifest.training
    for start, said in (
        ({"splits_of_ancestors": [["patterns", "0"]]}, True),
        ({"splits_of_ancestors": [["patterns", "0"]], "kept_splits": ["0"]}, False),
        ({"splits_of_ancestors": [["patterns", training["split_sha256"]]]}, False),
    ):
        manifest = summary.artifact.manifest.model_copy(update={"training": training | start})
        doubt = replace(summary, artifact=replace(summary.artifact, manifest=manifest)).doubt
        assert ("was trained on another split of patterns" in doubt) == said


@pytest.mark.parametrize(
    ("error", "beginning"),
    [(0.9, "Training was worth it: the network's accuracy is "), (0.1, "No clear difference"), (0.3, "Training was")],
)
def test_whether_training_was_worth_it(summary: RunSummary, error: float, beginning: str) -> None:
    compared = replace(
        summary, baselines=[Baseline("worse", "test", 1.0, 18, 9), Baseline("plain", "test", error, 40, 9)]
    )
    assert compared.verdict.startswith(beginning)
    assert f" %, against {100 * (1 - error):.1f} % for plain" in compared.verdict


def test_a_plain_method_may_be_better(summary: RunSummary) -> None:
    worse = Measurement(split="x", num_images=200, crops=10, top1_error=0.6, top5_error=None)
    compared = replace(summary, measured=worse, baselines=[Baseline("plain", "test", 0.2, 200, 9)])
    assert compared.verdict.startswith(
        "A baseline is better: the network's accuracy is 40.0 %, against 80.0 % for plain."
    )


@pytest.mark.parametrize(("ours", "plain"), [(0.3, 0.37), (0.37, 0.3)])
def test_intervals_that_overlap_tell_no_difference(summary: RunSummary, ours: float, plain: float) -> None:
    """Even if neither error is in the other's interval."""
    measured = Measurement(split="x", num_images=200, crops=10, top1_error=ours, top5_error=None)
    baseline = Baseline("plain", "test", plain, 200, 9)
    assert not baseline.interval[0] < ours < baseline.interval[1]
    assert not measured.top1_interval[0] < plain < measured.top1_interval[1]
    compared = replace(summary, measured=measured, baselines=[baseline])
    assert compared.verdict.startswith("No clear difference from a baseline: ")


def test_a_fitted_output_layer_is_not_compared_with_itself(summary: RunSummary) -> None:
    baselines = [Baseline(LINEAR, "test", 0.0, 18, 9), Baseline("plain", "test", 0.9, 40, 9)]

    def verdict_of(epoch: int, steps: int | None, epochs: int, baselines: list[Baseline] = baselines) -> str:
        training = summary.artifact.manifest.training | {"published_epoch": epoch, "published_steps": steps}
        manifest = summary.artifact.manifest.model_copy(update={"training": training})
        artifact = replace(summary.artifact, manifest=manifest)
        return replace(summary, artifact=artifact, epochs=epochs, baselines=baselines).verdict

    assert "% for plain" in verdict_of(0, 0, 0)
    assert "% for plain" in verdict_of(0, None, 3)  # the best epoch was before the first step
    assert LINEAR in verdict_of(1, 0, 1)
    assert LINEAR in verdict_of(0, 900, 0)  # stopped in the first epoch
    assert verdict_of(0, 0, 0, baselines[:1]) == ""
    start = [Baseline(START, "test", 0.5, 40, 0), *baselines[1:]]
    assert "no epoch was better than the start network" in verdict_of(0, None, 3, start)
    assert f"% for {START}" in verdict_of(1, 0, 1, start)


def test_the_majority_class_is_that_of_training() -> None:
    assert majority_class_baseline("test", [5, 9, 1], [2, 1, 1]).top1_error == 0.75


def create_config(epochs: int, **options: Any) -> TrainConfig:
    environment = Environment("my data", exclude=("*.gif",), archive=options.pop("archive", None))
    run = RunOptions(name="cats", init_from=Path("artifacts/cats/1"), **options)
    return TrainConfig.create(RecipeOptions(epochs=epochs), run=run, environment=environment)


def test_the_next_commands_use_the_artifact_wherever_it_is() -> None:
    config = create_config(epochs=3)
    index, serve, _ = (line for _, line in next_commands(Path("artifacts/cats/1"), config))
    assert index.endswith("index add --artifact artifacts/cats/1 --data 'my data' --exclude '*.gif'")
    assert serve.endswith(" serve --artifact artifacts/cats/1")
    _, serve, _ = (line for _, line in next_commands(Path("/elsewhere/artifacts/cats/1"), config))
    assert serve.endswith(" serve --artifact /elsewhere/artifacts/cats/1")


def test_the_next_commands_name_the_folders_of_the_run() -> None:
    environment = Environment("data", home=Path("/srv/a"), runs=Path("/runs"))
    run = RunOptions(name="cats", init_from=Path("artifacts/cats/1"))
    config = TrainConfig.create(RecipeOptions(epochs=0), run=run, environment=environment)
    path = Path("/srv/a/artifacts/cats/1")
    further, index, serve, _ = (line for _, line in next_commands(path, config))
    assert further.endswith(" --publish best --home /srv/a --runs /runs")
    assert index.endswith(f" index add --artifact {path} --data data --home /srv/a")
    assert serve.endswith(f" serve --artifact {path} --home /srv/a")


def test_after_the_output_layer_all_layers_can_be_trained_on_the_same_split() -> None:
    path = Path("artifacts/cats/1")
    assert TRAIN_ALL_LAYERS not in dict(next_commands(path, create_config(epochs=3)))
    further = dict(next_commands(path, create_config(epochs=0)))[TRAIN_ALL_LAYERS]
    assert further.endswith(
        " train --data 'my data' --exclude '*.gif' --name cats --init-from artifacts/cats/1 --epochs 15 "
        "--lr-multipliers copied=1 --publish best"
    )
    options = {"seed": 7, "split": "half", "drop_near_duplicates": True, "archive": Path("x.zip")}
    further = dict(next_commands(path, create_config(epochs=0, **options)))[TRAIN_ALL_LAYERS]
    assert " --archive x.zip --seed 7 --split half --drop-near-duplicates --name cats " in further
    config = TrainConfig.create(
        RecipeOptions(epochs=0, class_weights=True),
        run=RunOptions("cats", init_from=path, cache_format="jpeg"),
        environment=Environment("data", max_pixels=5_000_000, crops=1, device="cpu"),
    )
    further = dict(next_commands(path, config))[TRAIN_ALL_LAYERS]
    assert further.endswith(" --class-weights --max-pixels 5000000 --cache-format jpeg --crops 1 --device cpu")
    further = dict(next_commands(path, create_config(epochs=0, split_from=Path("runs/1"))))[TRAIN_ALL_LAYERS]
    assert " --split-from runs/1 --name cats " in further


def test_durations() -> None:
    assert [format_duration(seconds) for seconds in (48.2, 700, 12_000)] == ["48 s", "12 min", "3 h 20 min"]
