"""Figures 3 and 4 of an artifact."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from model.artifacts.artifact import MANIFEST, Artifact
from model.exceptions import DatasetError
from training.publish.drawing import draw_figures

ALEXNET = Path(sys.executable).parent / "alexnet"


def run(*options: object) -> subprocess.CompletedProcess[str]:
    command = [str(ALEXNET), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_artifact_in_images(artifact: Artifact, images: Path, few: Path, tmp_path: Path) -> None:
    said = run("draw", "--artifact", artifact.path, "--data", images, "--output", tmp_path, "--max-images", 5)
    assert said.returncode == 0, said.stderr
    for name in ("kernels", "predictions"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 200
    assert "note:" not in said.stderr
    other = Path(shutil.copytree(few, tmp_path / "other"))
    notes = list[str]()
    draw_figures(artifact.path, str(other), None, tmp_path, 1, 0, notes.append)
    assert notes == [
        f"note: {other} is split differently than in the network's training: the images drawn may be among its "
        "training images"
    ]
    shutil.copytree(few / "circles", other / "fourth class")
    with pytest.raises(DatasetError, match=r"does not know 1 class of .*: fourth class; leave"):
        draw_figures(artifact.path, str(other), None, tmp_path, 5, 0, print)


def test_held_out_images_of_a_split_that_is_not_drawn_again(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copytree(artifact.path, tmp_path / "kept"))
    manifest = json.loads((kept / MANIFEST).read_text())
    manifest["training"] |= {"split_method": "earlier", "split_sha256": "0"}
    (kept / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        DatasetError, match=rf"use the split of its run, --data runs/{manifest['training']['run']}/split\.csv"
    ):
        draw_figures(kept, str(images), None, tmp_path, 5, 0, print)


def test_images_that_can_not_be_decoded(artifact: Artifact, tmp_path: Path) -> None:
    for number in range(12):
        file = tmp_path / "data" / artifact.labels[number % 3].id / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\xff\xd8\xff" + bytes([number]))
    with pytest.raises(DatasetError, match=r"none of the 3 images drawn from .* can be decoded"):
        draw_figures(artifact.path, str(tmp_path / "data"), None, tmp_path, 5, 0, print)
