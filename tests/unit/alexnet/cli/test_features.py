"""`alexnet features`: the same features as an index has, in a file for NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.classifier import Classifier
from model.artifacts.artifact import Artifact
from tests.helpers.commands import invoke, run_alexnet


def test_they_are_those_that_an_index_exports(
    artifact: Artifact, images: Path, index_path: Path, tmp_path: Path
) -> None:
    """There are more images than a batch holds; rows keep their order."""
    output = tmp_path / "features"  # no suffix is added
    printed = invoke("features", images, "--artifact", artifact.path, "--output", output)
    assert printed == f"90 images in {output}\n"
    invoke("index", "export", "--index", index_path, "--output", tmp_path / "index.npz")
    with np.load(output) as written, np.load(tmp_path / "index.npz") as exported:
        assert set(written) == {"paths", "features"}
        assert written["features"].dtype == np.float32
        assert written["paths"].tolist() == [str(path) for path in sorted(images.rglob("*.jpg"))]
        rows = dict(zip(exported["paths"], exported["features"], strict=True))
        expected = np.stack([rows[path] for path in written["paths"]])
        np.testing.assert_allclose(written["features"], expected, rtol=1e-5, atol=1e-5)


def test_ten_crops(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    path = few / "checks" / "00.jpg"
    options = ["--artifact", artifact.path, "--output", tmp_path / "a.npz"]
    invoke("features", path, "--crops", 10, *options)
    with np.load(tmp_path / "a.npz") as arrays:
        expected = Classifier(artifact).features(path, crops=10)
        np.testing.assert_allclose(arrays["features"], expected, rtol=1e-5, atol=1e-5)


def test_what_was_left_out_of_images_is_said(artifact: Artifact, tmp_path: Path) -> None:
    Image.new("RGB", (100, 300)).save(tmp_path / "strip.png")
    done = run_alexnet("features", tmp_path / "strip.png", "--artifact", artifact.path, "--output", tmp_path / "a.npz")
    assert done.stderr == "images read with a warning: 1 over twice as long as wide (the middle was used)\n"


def test_an_image_that_cannot_be_read_is_skipped(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    good, broken = few / "checks" / "00.jpg", tmp_path / "broken.jpg"
    options = ["--artifact", artifact.path, "--output", tmp_path / "a.npz"]
    done = run_alexnet("features", broken, good, *options)
    assert (done.returncode, done.stdout) == (1, f"1 image in {tmp_path / 'a.npz'}\n")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith(f"skipped {broken}: not an image in a supported format")
    assert last == "1 of 2 images read, 1 skipped"
    with np.load(tmp_path / "a.npz") as arrays:
        assert (arrays["paths"].tolist(), arrays["features"].shape) == ([str(good)], (1, 64))
    failed = run_alexnet("features", broken, *options)
    assert failed.returncode == 1
    assert "error: no image could be read, so" in failed.stderr
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(arrays["paths"]) == 1  # the earlier file is kept


def test_a_file_that_cannot_be_written_is_an_error_before_images_are_read(
    artifact: Artifact, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.feature_files.read_batches", lambda *_: pytest.fail("read"))
    for output, message in ((tmp_path / "none" / "a.npz", "no such file or directory"), (tmp_path, "is a directory")):
        done = run_alexnet("features", few, "--artifact", artifact.path, "--output", output)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {message}: ")
