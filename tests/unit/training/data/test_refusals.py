"""Data that can't be trained on: `alexnet check` finds everything that training would be refused for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from alexnet.cli.app import app
from model.exceptions import DatasetError
from tests.helpers.drawn_files import Files, make_image, write_files
from training.data.cache import build_cache
from training.data.folders import load_folder


def one_class_of(name: str, content: bytes, count: int) -> Files:
    """Two classes of ten images, and a third one with `count` identical files."""
    files = {f"{kind}/{n}.png": make_image(100 * k + n) for k, kind in enumerate(("cat", "dog")) for n in range(10)}
    return files | {f"{name}/{n}.png": content for n in range(count)}


def copies_in_validation() -> Files:
    images = [make_image(n) for n in range(16)]
    files = {f"train/{'ab'[n % 2]}/{n}.png": image for n, image in enumerate(images[:10])}
    return files | {f"{split}/{'ab'[n % 2]}/{n}.png": images[n] for n in range(10, 16) for split in ("val", "test")}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (one_class_of("fox", b"no image", 1), "no image to train on is left in 1 class (fox): 1 "),
        (one_class_of("fox", b"no image", 30), "30 of 50 images can't be decoded, more than 50%, such as "),
        (copies_in_validation(), "no image of the validation split is left: 6 copies of held-out images"),
    ],
)
def test_check_finds_what_training_is_refused_for(tmp_path: Path, files: Files, message: str) -> None:
    root = write_files(tmp_path / "d", files)
    with pytest.raises(DatasetError) as refused:
        build_cache(load_folder(root), tmp_path / "cache")
    assert message in str(refused.value)
    result = CliRunner().invoke(app, ["check", "--data", str(root)])
    assert f"can't be trained on: {refused.value}" in result.output
    assert result.exit_code == 1


def test_folders_without_images_are_left_out_with_a_warning(tmp_path: Path) -> None:
    root = write_files(tmp_path / "d", one_class_of("notes", b"", 0))
    (root / "fox").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").write_text("take photos")
    dataset = load_folder(root)
    assert [label.id for label in dataset.labels] == ["cat", "dog"]
    build_cache(dataset, tmp_path / "cache")
    result = CliRunner().invoke(app, ["check", "--data", str(root)])
    assert "22 found, 20 used, 2 skipped (2 folders without images)" in result.output
    assert "warning: 2 folders without images left out: fox, notes; a class needs images" in result.output
    assert result.exit_code == 0
