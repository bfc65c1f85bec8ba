"""What a training came to, in sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact, Measurement
from training.data.data_check import check_data
from training.data.folders import load_folder
from training.evaluation.baselines import Baseline
from training.publish.summary import Summary, format_duration, frequent_class_baseline, next_commands


@pytest.fixture
def summary(artifact: Artifact, few: Path) -> Summary:
    measured = Measurement(split="x", num_images=18, crops=10, top1_error=0.0, top5_error=None)
    return Summary(artifact, measured, "test", [], check_data(load_folder(few)), 4, 60.0, [])


def test_the_first_sentence(summary: Summary) -> None:
    assert summary.result == "18 of 18 test images right; 95 % interval 82 to 100 %"
    assert summary.doubt == summary.verdict == ""
    assert "no test part" in replace(summary, split="validation").doubt


@pytest.mark.parametrize(
    ("error", "beginning"),
    [(0.9, "Training was worth it: plain is right for 10.0 %"), (0.1, "No clear difference"), (0.3, "Training was")],
)
def test_whether_training_was_worth_it(summary: Summary, error: float, beginning: str) -> None:
    compared = replace(
        summary, baselines=[Baseline("worse", "test", 1.0, 18, 9), Baseline("plain", "test", error, 40, 9)]
    )
    assert compared.verdict.startswith(beginning)


def test_a_plain_method_may_be_better(summary: Summary) -> None:
    worse = Measurement(split="x", num_images=200, crops=10, top1_error=0.6, top5_error=None)
    compared = replace(summary, measured=worse, baselines=[Baseline("plain", "test", 0.2, 200, 9)])
    assert compared.verdict.startswith("A plain method is better: plain is right for 80.0 %, the network for 40.0 %.")


def test_the_majority_class_is_that_of_training() -> None:
    assert frequent_class_baseline("test", [5, 9, 1], [2, 1, 1]).top1_error == 0.75


def test_the_next_commands_can_be_copied(artifact: Artifact) -> None:
    commands = dict(next_commands(artifact, Path("runs/my run"), "my data", ["*.gif"]))
    assert commands["search for similar images"].endswith(
        f"--artifact {artifact.path} --data 'my data' --exclude '*.gif'"
    )
    assert commands["write this report again"].endswith(" report 'runs/my run'")


def test_durations() -> None:
    assert [format_duration(seconds) for seconds in (48.2, 700, 12_000)] == ["48 s", "12 min", "3 h 20 min"]
