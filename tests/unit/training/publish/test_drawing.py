"""Figures 3 and 4 of an artifact."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from model.artifacts.artifact import Artifact

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
    other = Path(shutil.copytree(few, tmp_path / "other"))
    shutil.copytree(few / "circles", other / "fourth class")
    assert "error: " in run("draw", "--artifact", artifact.path, "--data", other, "--output", tmp_path).stderr
