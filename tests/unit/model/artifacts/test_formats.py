"""Exports of artifacts: what can't be exported is refused with a clear message."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import onnx
import pytest

from model.artifacts.artifact import NETWORK, Artifact, Manifest
from model.artifacts.formats import Format, export_artifact
from model.artifacts.weights import read_weights
from model.artifacts.writer import publish
from model.exceptions import ArtifactError


@pytest.mark.parametrize("form", get_args(Format))
def test_weights_in_another_file_are_not_exported(artifact: Artifact, tmp_path: Path, form: Format) -> None:
    def write(folder: Path) -> Manifest:
        network = onnx.load(str(artifact.network_path))
        onnx.save(network, str(folder / NETWORK), save_as_external_data=True, location="weights.bin")
        (folder / "weights.bin").unlink()
        return artifact.manifest

    apart = publish(tmp_path, "apart", artifact.labels, write)
    with pytest.raises(ArtifactError, match="keeps weights in another file, which is not allowed"):
        export_artifact(apart, tmp_path / "exported", form)
    assert not (tmp_path / "exported").exists()
    with pytest.raises(ArtifactError, match="keeps weights in another file"):  # as when training starts from it
        read_weights(apart)
