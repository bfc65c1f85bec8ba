"""An earlier version that is better is named when a later one takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model.artifacts.artifact import MANIFEST, Artifact, Manifest
from training.publish.earlier_versions import better_version_note


def publish(
    artifact: Artifact, root: Path, version: int, error: float, training: Mapping[str, Any] | None = None
) -> Artifact:
    """A version of the network whose top-1 error is `error`."""
    path = Path(shutil.copytree(artifact.path, root / "patterns" / str(version)))
    measurements = [m.model_copy(update={"top1_error": error}) for m in artifact.manifest.measurements]
    described = artifact.manifest.training | dict(training or {})
    manifest: Manifest = artifact.manifest.model_copy(
        update={"version": version, "measurements": measurements, "training": described}
    )
    (path / MANIFEST).write_text(manifest.model_dump_json())
    return Artifact(path, manifest, artifact.labels)


def test_the_best_of_the_earlier_versions_is_named(artifact: Artifact, tmp_path: Path) -> None:
    assert better_version_note(publish(artifact, tmp_path, 1, 0.2)) == ""
    publish(artifact, tmp_path, 2, 0.1)
    publish(artifact, tmp_path, 3, 0.3)
    latest = publish(artifact, tmp_path, 10, 0.25)
    folder = tmp_path / "patterns"
    assert better_version_note(latest) == (
        "version 2 makes fewer errors on these images, 10.00 % top-1 instead of 25.00 %, but commands without "
        f"--artifact now use this one: to use version 2, add --artifact {folder / '2'}, or delete {folder / '10'}"
    )
    assert better_version_note(publish(artifact, tmp_path, 11, 0.1)) == ""
    (folder / "12").mkdir()  # unreadable, and later
    assert "version 11 makes" in better_version_note(publish(artifact, tmp_path, 13, 0.2))  # of equals, the latest


@pytest.mark.parametrize("training", [{"split_sha256": "0" * 64}, {"split_sha256": None}])
def test_errors_on_other_images_are_not_compared(artifact: Artifact, tmp_path: Path, training: dict[str, Any]) -> None:
    publish(artifact, tmp_path, 1, 0.1, training)
    assert better_version_note(publish(artifact, tmp_path, 2, 0.2)) == ""


def test_an_earlier_version_that_may_know_the_images_is_not_better(artifact: Artifact, tmp_path: Path) -> None:
    """It started from a network that was trained on another split of these images."""
    start = {"splits_of_ancestors": [[artifact.manifest.training["dataset"], "0" * 64]]}
    publish(artifact, tmp_path, 1, 0.1, start)
    assert better_version_note(publish(artifact, tmp_path, 2, 0.2)) == ""
