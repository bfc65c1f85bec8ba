"""familiarity.npz of an artifact: read as it was written, named with its checksum if it is damaged."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.familiarity import FAMILIARITY, UNFAMILIAR_QUANTILE, read_familiarity
from model.exceptions import ArtifactError
from model.files import sha256_of
from model.images.crops import CROP_IDS
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from tests.helpers.drawings import draw, encode
from tests.helpers.numpy_files import npy


@pytest.fixture
def copied(artifact: Artifact, tmp_path: Path) -> Artifact:
    return artifacts.load(Path(shutil.copytree(artifact.path, tmp_path / "1")))


@pytest.mark.parametrize("crops", [1, 10])
def test_noise_is_unfamiliar_and_the_classes_are_not(artifact: Artifact, model: OnnxModel, crops: int) -> None:
    familiarity = read_familiarity(artifact)
    assert familiarity is not None
    generator = np.random.default_rng(0)
    drawn = [decode_image(encode(draw(kind, generator))).pixels for kind in ("circles", "checks", "stripes") * 4]
    noise = generator.integers(0, 256, (4, 256, 256, 3), np.uint8)
    known, unknown = (
        np.array([familiarity.quantile(feature, crops) for feature in model.features(images, CROP_IDS[crops])], float)
        for images in (np.stack(drawn), noise)
    )
    assert np.median(known) > 0.2
    assert unknown.max() < UNFAMILIAR_QUANTILE


def test_an_artifact_without_it(artifact: Artifact) -> None:
    files = {name: record for name, record in artifact.manifest.files.items() if name != FAMILIARITY}
    manifest = artifact.manifest.model_copy(update={"files": files})
    assert read_familiarity(replace(artifact, manifest=manifest)) is None


def test_a_damaged_file_is_named_with_its_checksum(copied: Artifact) -> None:
    path = copied.path / FAMILIARITY
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    expected = copied.manifest.files[FAMILIARITY].sha256
    with pytest.raises(
        ArtifactError, match=rf"familiarity\.npz is damaged: its SHA-256 is {sha256_of(path)}, .*{expected}"
    ):
        artifacts.load(copied.path)
    path.write_bytes(b"no archive")  # as if the manifest matched
    with pytest.raises(
        ArtifactError, match=rf"isn't familiarity data \(SHA-256 {sha256_of(path)}\): calibrate it again"
    ):
        read_familiarity(copied)


def damage_compressed(content: bytes) -> bytes:
    return content[:200] + bytes(byte ^ 0x5A for byte in content[200:400]) + content[400:]


def change_records(content: bytes, place: int, local_place: int, value: int) -> bytes:
    """Change one byte in each record of a zip file, such as the compression method or the flags."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\1\2", place), (b"PK\3\4", local_place)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + offset] = value
            start = changed.find(signature, start + 1)
    return bytes(changed)


def with_member(content: bytes, member: bytes) -> bytes:
    buffer = io.BytesIO(content)
    with ZipFile(buffer, "a") as archive:
        archive.writestr("scores_2.npy", member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "tamper",
    [
        damage_compressed,
        lambda content: change_records(content, 10, 8, 99),  # unknown compression method
        lambda content: change_records(content, 8, 6, 1),  # encrypted
        lambda content: with_member(content, npy(b"[" * 500)),
    ],
    ids=["damaged stream", "unknown method", "encrypted", "header without end"],
)
def test_what_zipfile_and_numpy_stumble_over_is_named(copied: Artifact, tamper: Callable[[bytes], bytes]) -> None:
    path = copied.path / FAMILIARITY
    path.write_bytes(tamper(path.read_bytes()))
    with pytest.raises(ArtifactError, match="isn't familiarity data"):
        read_familiarity(copied)


def test_a_small_file_of_very_many_numbers_is_refused(copied: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_familiarity(copied) is not None
    monkeypatch.setattr("model.artifacts.familiarity.MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ArtifactError, match="isn't familiarity data"):
        read_familiarity(copied)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projection", np.zeros(512)),
        ("projection", np.full((512, 4), np.nan)),
        ("class_means", np.zeros((0, 4))),
        ("class_means", np.full((3, 4), np.inf)),
        ("scores_10", np.zeros(0)),
        ("scores_10", np.zeros((2, 2))),
        ("scores_10", np.array([0, np.nan])),
        ("scores_10", np.array([0, 2, 1])),
        ("scale_10", np.array([0, 1, 0])),
        ("scale_10", np.array([0, 0, 0, 1])),
        ("scale_10", np.array([0, 1, 0, -1])),
        ("scale_10", np.array([np.nan, 1, 0, 1])),
    ],
)
def test_numbers_that_no_calibration_writes_are_refused(
    copied: Artifact, name: str, value: NDArray[np.float64]
) -> None:
    path = copied.path / FAMILIARITY
    with np.load(path) as file:
        arrays = dict(file)
    assert name in arrays
    np.savez_compressed(path, **arrays)
    assert read_familiarity(copied) is not None
    np.savez_compressed(path, **arrays | {name: value})
    with pytest.raises(ArtifactError, match="isn't familiarity data"):
        read_familiarity(copied)


def test_that_of_another_network_is_refused(copied: Artifact) -> None:
    manifest = copied.manifest.model_copy(update={"feature_dim": 128})
    with pytest.raises(ArtifactError, match="doesn't match the network's 128 features"):
        read_familiarity(replace(copied, manifest=manifest))
