"""A run's folder: one process at a time, files that are replaced as a whole, and when a run can be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from model.artifacts.artifact import MANIFEST, Artifact
from model.exceptions import TrainingError
from training.config import Environment, NetworkOptions, RecipeOptions, TrainConfig
from training.data.folders import INFO_SUFFIX, load_folder
from training.loop.checkpoint_state import CheckpointState
from training.loop.run_directory import CHECKPOINT, CONFIG, SPLIT, RunDirectory, create_run_folder, resume_config


def test_a_folder_is_one_process_s(tmp_path: Path) -> None:
    with (
        RunDirectory(tmp_path / "run"),
        pytest.raises(TrainingError, match="another process is working on the run"),
        RunDirectory(tmp_path / "run"),
    ):
        pass
    with RunDirectory(tmp_path / "run"):
        pass


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {create_run_folder(tmp_path / "runs", "cells") for _ in range(50)}
    assert len(folders) == 50
    assert all(folder.is_dir() and folder.name.startswith("cells-2") for folder in folders)


def test_a_run_cannot_change_its_split(few: Path, tmp_path: Path) -> None:
    dataset, config = load_folder(few), TrainConfig.create()
    with RunDirectory(tmp_path) as run:
        run.claim(config, dataset, resumed=False)
        assert run.read_config() == config
        assert (tmp_path / SPLIT).with_suffix(INFO_SUFFIX).is_file()
        run.check_split(dataset)
        run.claim(config, dataset, resumed=True)
        name = Path(dataset.train[0].file).name
        removed = rf"1 image \(such as {name}\) was removed since this run began.*: resume it with --data \S*split\.csv"
        with pytest.raises(TrainingError, match=removed):
            run.check_split(replace(dataset, train=dataset.train[1:]))
        grouped = tuple(example._replace(group="web") for example in dataset.train)
        with pytest.raises(TrainingError, match="the splits or groups of the images have changed since"):
            run.check_split(replace(dataset, train=grouped))


def test_a_full_disk_leaves_the_configuration(tmp_path: Path) -> None:
    config, run = TrainConfig.create(RecipeOptions(epochs=3), NetworkOptions(hidden=16)), RunDirectory(tmp_path)
    run.write_config(config)
    (tmp_path / f"{CONFIG}.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="nothing was changed"):
        run.write_config(TrainConfig.create())
    assert run.read_config() == config


def test_other_configurations_are_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"recipe": {}}')
    with pytest.raises(TrainingError, match="is not valid in this version: "):
        RunDirectory(tmp_path).read_config()
    (tmp_path / CONFIG).write_text('{"recipe":')
    with pytest.raises(TrainingError, match=r"config\.json is damaged: it isn't valid JSON"):
        RunDirectory(tmp_path).read_config()
    with pytest.raises(TrainingError, match=r"it has no config\.json"):
        RunDirectory(tmp_path / "nothing").read_config()


def test_a_run_keeps_its_folders_wherever_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative folders are those of where it was started; folders that are given anew replace them."""
    for options, parent in (({}, "runs"), ({"home": Path("mine")}, "mine/runs"), ({"runs": Path("a/b")}, "a/b")):
        folder = tmp_path / parent / "cats-1"
        folder.mkdir(parents=True)
        config = TrainConfig.create(environment=Environment(artifacts=Path("networks"), **options))  # type: ignore[arg-type]
        RunDirectory(folder).write_config(config)
        monkeypatch.chdir(tmp_path)
        assert RunDirectory(Path(parent) / "cats-1").read_config() == config
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        environment = RunDirectory(Path("..") / parent / "cats-1").read_config().environment
        assert environment.artifacts_folder == tmp_path / "networks"
        assert environment.runs_folder == folder.parent
        assert environment.cache_folder == tmp_path / options.get("home", "") / "cache"
        moved = resume_config(folder, Environment(home=Path("new")), {"home"}).environment
        assert moved.cache_folder == Path("new/cache")
    moved_run = tmp_path / "kept" / "cats-1"
    folder.parent.rename(moved_run.parent)
    assert RunDirectory(moved_run).read_config() == config


def test_a_full_disk_leaves_the_checkpoint(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.save_checkpoint(cast(CheckpointState, {"epoch": 1}))
    before = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / f"{CHECKPOINT}.partial").symlink_to("/dev/full")  # each write fails: no space left
    with pytest.raises(TrainingError, match=r"(No space left|could not be written).*; the previous one is kept"):
        run.save_checkpoint(cast(CheckpointState, {"weights": torch.zeros(1_000_000)}))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not (tmp_path / f"{CHECKPOINT}.partial").exists()


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(TrainingError, match="no checkpoint at"):
        run.load_checkpoint()
    torch.save({"weights": torch.zeros(1)}, tmp_path / CHECKPOINT)
    with pytest.raises(TrainingError, match="written by another version"):
        run.load_checkpoint()
    (tmp_path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="is damaged"):
        run.load_checkpoint()


def test_a_finished_run_is_not_resumed_unless_it_is_longer(few: Path, tmp_path: Path, artifact: Artifact) -> None:
    """It would publish the same network again. If its artifact is gone, it may be resumed."""
    finished = replace(artifact, path=tmp_path / "artifacts" / "elpv" / "1")
    finished.path.mkdir(parents=True)
    (finished.path / MANIFEST).touch()
    config, run = TrainConfig.create(), RunDirectory(tmp_path)
    run.write_config(config)
    assert resume_config(tmp_path, Environment(), set()) == config
    run.write_artifact(finished)
    with pytest.raises(TrainingError, match=f"this run is finished: its artifact is {finished.path}"):
        resume_config(tmp_path, Environment(), set())
    longer = replace(config, recipe=config.recipe.with_epochs(90))
    run.claim(config, load_folder(few), resumed=True)
    assert run.artifact() == finished.path
    run.claim(longer, load_folder(few), resumed=True)
    assert run.artifact() is None
    assert resume_config(tmp_path, Environment(), set()) == longer  # if stopped before its new end
    run.write_artifact(finished)
    (finished.path / MANIFEST).unlink()
    assert resume_config(tmp_path, Environment(device="cpu"), {"device"}).environment.device == "cpu"
