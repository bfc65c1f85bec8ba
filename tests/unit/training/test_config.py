"""What a run may be called, and when it may go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.artifacts.artifact import MANIFEST
from model.exceptions import TrainingError
from training import config


@pytest.mark.parametrize("name", ["a/b", "../evil", ".", "..", ".hidden", "/", "a\\b", "a\0b"])
def test_a_name_is_one_folder_s(name: str) -> None:
    with pytest.raises(TrainingError, match="expected a --name that can be one folder's"):
        config.configure({"name": name})


def test_ordinary_names_and_folders_names_stand(tmp_path: Path) -> None:
    assert config.configure({"name": "Solar cells, 2nd try"}).name == "Solar cells, 2nd try"
    for folder, name in (
        ("my images", "my images"),
        ("K\u00e4fer", "K\u00e4fer"),
        ("a.csv", "a"),
        (".hidden", "hidden"),
    ):
        assert config.configure({"data": str(tmp_path / folder)}).name == name
    with pytest.raises(TrainingError, match="--name"):
        config.configure({"data": "/"})


def test_a_finished_run_does_not_go_on(tmp_path: Path) -> None:
    """It would publish the same network again. Without its artifact it may."""
    artifact = tmp_path / "artifacts" / "elpv" / "1"
    artifact.mkdir(parents=True)
    (artifact / MANIFEST).touch()
    config.save(tmp_path, config.configure({}))
    assert config.go_on(tmp_path, {}) == config.configure({})
    (tmp_path / config.ARTIFACT).write_text(f"{artifact}\n")
    with pytest.raises(
        TrainingError, match=f"expected a run that isn't finished, found one with its artifact: {artifact}"
    ):
        config.go_on(tmp_path, {})
    (artifact / MANIFEST).unlink()
    assert config.go_on(tmp_path, {"device": "cpu"}).device == "cpu"
