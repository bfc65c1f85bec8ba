"""What a run publishes."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.artifacts.history import HISTORY
from model.exceptions import StoppedError, TrainingError
from model.runtime import OnnxModel
from tests.helpers.narrow_network import NARROW
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig, TrainingDevice
from training.evaluation.predictions import PREDICTIONS_FILE
from training.loop.metrics import METRICS
from training.loop.run_directory import CONFIG, RunDirectory, resume_config
from training.loop.runtime import evaluation_device
from training.loop.trainer import Trainer
from training.publish import calibrate, report
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


@pytest.mark.slow
def test_names_of_images_that_are_not_utf_8(few: Path, tmp_path: Path) -> None:
    """As in an archive from another system: all tables and pages are written, and the run can be resumed."""
    folder = tmp_path / os.fsdecode("K\xe4fer".encode("latin-1"))
    for source in few.rglob("*.jpg"):
        copied = folder / source.parent.name / os.fsdecode(b"\xe9" + source.name.encode())
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        NARROW,
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


def test_a_run_that_was_stopped_in_its_first_epoch_is_published(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the stop message says, even with `--publish best`; nothing calls it a run that only fitted a layer."""
    config = TrainConfig.create(
        RecipeOptions(epochs=1, batch_size=8),
        NARROW,
        RunOptions("few"),
        Environment(str(few), home=tmp_path, device="cpu", precision="float32", crops=1, publish="best"),
    )
    begin_step = Trainer._begin_step

    def stop_in_the_second_step(trainer: Trainer, step: int) -> bool:
        trainer.stop.requested = step == 1
        return begin_step(trainer, step)

    monkeypatch.setattr(Trainer, "_begin_step", stop_in_the_second_step)
    with pytest.raises(StoppedError, match=r"after 2 steps of epoch 1; .* to publish it as it is, use --finish"):
        train_run(config)
    (run,) = (tmp_path / "runs").iterdir()
    finished = train_run(resume_config(run, config.environment, set()), run, finish=True)
    assert finished is not None
    training = finished.artifact.manifest.training
    assert (training["epochs"], training["published_epoch"], training["published_steps"]) == (0, 0, 2)
    assert "<dd>2 steps of the first epoch; " in (run / REPORT).read_text()


def test_what_is_published_once_is_not_published_again(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C during the report; a full disk during the publication; a checkpoint older than the records."""
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        NARROW,
        RunOptions("few"),
        Environment(str(few), home=tmp_path, device="cpu", precision="float32", crops=1, keep_checkpoint=True),
    )
    with monkeypatch.context() as stopped:
        stopped.setattr("training.publish.export_run.write_report", interrupt)
        with pytest.raises(StoppedError, match=r"artifacts/few/1 is published; write its report with: .* report "):
            train_run(config)
    (run,) = (tmp_path / "runs").iterdir()
    assert RunDirectory(run).artifact() == tmp_path / "artifacts" / "few" / "1"
    with pytest.raises(TrainingError, match="this run is finished"):
        resume_config(run, config.environment, set())
    (run / "artifact.txt").unlink()
    lines = (run / METRICS).read_text()
    (run / METRICS).write_text(lines + lines.replace('"epoch": 1', '"epoch": 2'))
    finish = resume_config(run, config.environment, set())
    with monkeypatch.context() as full:
        full.setattr("training.publish.export_run.publish", fail)
        with pytest.raises(OSError, match="No space left"):
            train_run(finish, run, finish=True)
    assert re.search(
        r"the trained network isn't lost: fix the error below, .* train --finish ", capsys.readouterr().out
    )
    with monkeypatch.context() as full:
        full.setattr("training.publish.export_run.publish", fail)
        full.setattr(RunDirectory, "save_checkpoint", fail_to_save)
        with pytest.raises(OSError, match="No space left"):
            train_run(config)
    assert "the trained network is lost, because no checkpoint could be written: fix" in capsys.readouterr().out
    before = (run / CONFIG).read_bytes()
    best = resume_config(run, replace(config.environment, publish="best"), {"publish"})
    with pytest.raises(TrainingError, match="no best-epoch weights at"):
        train_run(best, run, finish=True)
    assert (run / CONFIG).read_bytes() == before
    finished = train_run(finish, run, finish=True)
    assert finished is not None
    assert len(json.loads((finished.artifact.path / HISTORY).read_text())["epochs"]) == 1
    assert "<dd>1 epoch in " in (run / REPORT).read_text()


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def fail_to_save(*arguments: object) -> None:
    raise TrainingError("no space")


def fail(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("device", "used"), [("cpu", "cpu"), ("auto", "auto"), ("cuda", "auto")])
def test_the_device_of_the_exported_network(device: TrainingDevice, used: str) -> None:
    """onnxruntime may have no GPU where PyTorch has one."""
    assert evaluation_device(device) == used


def test_a_run_on_the_cpu_is_measured_there(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = list[str]()

    class Recorded(OnnxModel):
        def __init__(self, path: Path, device: str = "auto") -> None:
            devices.append(device)
            super().__init__(path, device)

    for module in (calibrate, report):
        monkeypatch.setattr(module, "OnnxModel", Recorded)
    config = TrainConfig.create(
        RecipeOptions(epochs=1),
        NARROW,
        RunOptions("few"),
        Environment(data=str(few), home=tmp_path, device="cpu", precision="float32", crops=1),
    )
    finished = train_run(config)
    assert finished is not None
    rewrite_report(finished.path)
    assert devices == ["cpu"] * 3  # calibration, measurement, and measurement for the report


@pytest.mark.slow
def test_what_is_published_is_utf_8_whatever_the_locale(few: Path, tmp_path: Path) -> None:
    """History, labels for Triton and manifest; Python raises an error where it would use the locale's encoding."""
    script = (
        "import sys; from pathlib import Path; from training.train import train_run\n"
        "from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig\n"
        "from model.artifacts.formats import export_artifact\n"
        "data, home = sys.argv[1:]\n"
        "environment = Environment(data, home=Path(home), device='cpu', precision='float32', crops=1)\n"
        "network = NetworkOptions(hidden=8, channels=(4, 8, 8, 8, 8))\n"
        "run = train_run(TrainConfig.create(RecipeOptions(epochs=1), network, RunOptions('b'), environment))\n"
        "export_artifact(run.artifact, Path(home) / 'triton', 'triton')\n"
    )
    strict = [
        word
        for module in ("training.publish.export_run", "model.artifacts.formats")
        for word in ("-W", f"error::EncodingWarning:{module}")
    ]
    command = [sys.executable, "-X", "warn_default_encoding", *strict, "-c", script, str(few), str(tmp_path)]
    subprocess.run(command, check=True)
    assert (tmp_path / "triton" / "b" / "labels.txt").is_file()
