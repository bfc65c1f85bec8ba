"""kernels.npy of an artifact: kernels, or an error that names the file."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.kernels import KERNELS, draw_sheet, read_kernels
from model.exceptions import ArtifactError
from tests.helpers.numpy_files import npy


def array(shape: tuple[int, ...], value: float = 0, dtype: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.full(shape, value, dtype))
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, kernels=np.zeros((2, 11, 11, 3), np.float32))
    return buffer.getvalue()


def test_they_are_read_and_drawn(artifact: Artifact) -> None:
    kernels = read_kernels(artifact)
    assert kernels is not None
    assert kernels.shape[1:] == (11, 11, 3)
    sheet = draw_sheet(kernels)
    assert sheet.shape == (12 * -(-len(kernels) // 16) - 1, 12 * 16 - 1, 3)


def test_an_artifact_without_them(artifact: Artifact) -> None:
    files = {name: record for name, record in artifact.manifest.files.items() if name != KERNELS}
    assert read_kernels(replace(artifact, manifest=artifact.manifest.model_copy(update={"files": files}))) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        array((2, 11, 11, 3), dtype="<f8"),
        array((2, 11, 11, 4)),
        array((0, 11, 11, 3)),
        array((2, 11, 0, 3)),
        array((2, 11, 11, 3), np.nan),
        array((1, 100_000, 1, 3)),  # its sheet would have 3 million pixels
        array((5000, 1, 1, 3)),
        archive(),
        npy(b"-" * 9000 + b"1"),
        npy(b"[" * 9000),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2, 2, 3)}", bytes(48)),
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_a_file_that_has_none_is_named(artifact: Artifact, tmp_path: Path, content: bytes) -> None:
    copied = artifacts.load(Path(shutil.copytree(artifact.path, tmp_path / "1")))
    (copied.path / KERNELS).write_bytes(content)  # as if the manifest matched
    with pytest.raises(ArtifactError, match=r"kernels\.npy isn't an array of kernels"):
        read_kernels(copied)
