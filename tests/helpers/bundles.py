"""Bundles of small networks, like those of large ones in the package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.artifacts import packed
from model.artifacts.artifact import Artifact, Manifest
from model.artifacts.writer import publish
from model.network import compression


def make_bundle(artifact: Artifact, name: str, folder: Path) -> Artifact:
    """Round an artifact's weights, publish it as `name` below `folder`, and write its bundle into `folder/name`.

    The compression is fast, not strong. Returns the published artifact.
    """
    (folder / name).mkdir(parents=True)

    def write(target: Path) -> Manifest:
        for file in artifact.manifest.files:
            if file != "labels.json":
                shutil.copy(artifact.path / file, target)
        compression.pack(target / "network.onnx", folder / name / packed.PACKED)
        return artifact.manifest

    with pytest.MonkeyPatch.context() as patch:
        compress_quickly(patch)
        rounded = publish(folder / "artifacts", name, artifact.labels, write, version=1)
    packed.complete_bundle(rounded, folder / name)
    return rounded


def compress_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `pack` ten times as fast."""
    monkeypatch.setattr(compression, "_FILTERS", [{**compression._FILTERS[0], "preset": 0}])
