"""Figures 3 and 4 of an artifact, and the measure of what the towers see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import specialization
from experiments.specialization import color
from model.artifacts.artifact import Artifact

ALEXNET = Path(sys.executable).parent / "alexnet"


def run(*options: object) -> subprocess.CompletedProcess[str]:
    command = [str(ALEXNET), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_artifact_in_images(artifact: Artifact, images: Path, few: Path, tmp_path: Path) -> None:
    said = run("draw", "--artifact", artifact.path, "--data", images, "--output", tmp_path, "--max-images", 5)
    assert said.returncode == 0, said.stderr
    for name in ("kernels", "answers"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 200
    (few / "other").mkdir(exist_ok=True)
    try:
        assert "expected" in run("draw", "--artifact", artifact.path, "--data", few, "--output", tmp_path).stderr
    finally:
        (few / "other").rmdir()


def test_the_color_of_a_kernel() -> None:
    generator = np.random.default_rng(0)
    gray = np.repeat(generator.normal(size=(4, 11, 11, 1)), 3, 3)
    opponent = generator.normal(size=(4, 11, 11, 1)) * [1.0, -1.0, 0.0]
    planes = generator.normal(size=(400, 11, 11, 3))
    np.testing.assert_allclose(color(gray.astype(np.float32)), 0, atol=1e-12)
    np.testing.assert_allclose(color(opponent.astype(np.float32)), 1, atol=1e-6)
    assert color(planes.astype(np.float32)).mean() == pytest.approx(2 / 3, abs=0.01)


def test_towers_that_are_apart_and_towers_that_are_not() -> None:
    generator = np.random.default_rng(0)
    apart = specialization.specialization(np.r_[generator.uniform(0, 0.4, 48), generator.uniform(0.5, 1, 48)])
    assert (apart.apart, apart.chance) == (1.0, 0.0)
    alike = specialization.specialization(np.tile(generator.uniform(0, 1, 48), 2))
    assert alike.apart < 0.03
    assert alike.chance > 0.8


def test_the_measure_of_an_artifact(artifact: Artifact, tmp_path: Path) -> None:
    script = Path(specialization.__file__)
    command = [sys.executable, str(script), str(artifact.path), "--output", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith("patterns 1: color 0.")
    assert (tmp_path / "specialization.json").is_file()
    assert (tmp_path / "specialization.png").stat().st_size > 2000
