"""What is published of a run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.evaluation.predictions import PREDICTIONS_FILE
from training.loop.run_directory import RunDirectory
from training.publish.export_run import combine_licenses
from training.publish.report import REPORT, rewrite_report
from training.train import train_run


@pytest.mark.parametrize(
    ("images", "start", "combined"),
    [
        ("MIT", "", "MIT"),
        ("MIT", "MIT", "MIT"),
        ("MIT", "research", "MIT; research (of the network it started from)"),
        ("MIT", "MIT; research (of the network it started from)", "MIT; research (of the network it started from)"),
    ],
)
def test_the_terms_of_the_start_network_are_kept(images: str, start: str, combined: str) -> None:
    assert combine_licenses(images, start) == combined


def test_names_of_images_that_are_not_utf_8(few: Path, tmp_path: Path) -> None:
    """As an archive of another system has them: all tables and pages are written, and the run can be resumed."""
    folder = tmp_path / os.fsdecode("K\xe4fer".encode("latin-1"))
    for source in few.rglob("*.jpg"):
        copied = folder / source.parent.name / os.fsdecode(b"\xe9" + source.name.encode())
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        NetworkOptions(hidden=8),
        RunOptions("beetles"),
        Environment(data=str(folder), home=tmp_path, device="cpu", precision="float32", crops=1),
    )
    finished = train_run(config)
    assert finished is not None
    run = RunDirectory(finished.path)
    assert run.artifact() == finished.artifact.path
    assert run.read_config().environment.data == str(folder)
    assert os.fsencode(folder) in (finished.path / PREDICTIONS_FILE).read_bytes()
    (finished.path / REPORT).unlink()
    assert os.fsencode(folder) in rewrite_report(finished.path).read_bytes()
