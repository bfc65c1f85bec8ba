"""The networks that come with the project are small in git, verified when unpacked, and match their model cards."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.bundled import BUNDLED
from model.artifacts.packed import unpack_bundled, write_bundle
from model.exceptions import ArtifactError
from model.images.contract import ImageContract
from model.images.preprocess import decode_image
from tests.helpers.bundles import compress_quickly, make_bundle
from training.data.archives import load_elpv

CARDS = Path(__file__).parents[4] / "docs" / "model-cards"


def test_it_is_the_full_network_in_at_most_12_megabytes(bundled: Artifact) -> None:
    assert sum(file.stat().st_size for file in (BUNDLED / "elpv").iterdir()) <= 12_000_000
    assert (bundled.manifest.parameters, bundled.manifest.feature_dim, bundled.manifest.num_classes) == (
        56_901_000,
        4096,
        8,
    )
    assert unpack_bundled("elpv", bundled.path.parents[1]) == bundled  # the second time it is only verified


def test_its_split_is_the_file_that_is_kept(bundled: Artifact) -> None:
    assert bundled.manifest.training["split_sha256"] == load_elpv().split_sha256()


def test_the_model_card_says_what_was_measured(bundled: Artifact) -> None:
    card = (CARDS / "elpv.md").read_text()
    center, ten = bundled.manifest.measurements
    for label, values in {
        "top-1 error, 8 classes": [m.top1_error for m in (center, ten)],
        "functional or defective, correct": [m.groups["functional or defective"] for m in (center, ten)],
        "cell type, correct": [m.groups["cell type"] for m in (center, ten)],
    }.items():
        assert f"| {label} | {100 * values[0]:.2f} % | {100 * values[1]:.2f} % |" in card
    assert bundled.manifest.training["commit"] in card


def test_the_network_for_photographs_is_small_and_its_card_says_what_was_measured() -> None:
    assert sum(file.stat().st_size for file in (BUNDLED / "photos").iterdir()) <= 12_000_000
    manifest, labels = artifacts.read_manifest(BUNDLED / "photos"), artifacts.read_labels(BUNDLED / "photos")
    assert ImageContract.parse(manifest.image_contract).detail == 48
    assert len(labels) == 621
    assert all(label.name.replace("-", "").replace("'", "")[:1].isalpha() for label in labels)
    card = (CARDS / "photos.md").read_text()
    for m in manifest.measurements:
        assert m.top5_error is not None
        assert m.top5_interval is not None
        errors = [f"{100 * error:.1f} %" for error in (m.top1_error, m.top5_error)]
        rows = [line for line in card.replace("*", "").splitlines() if f"| {m.num_images} | {m.crops} |" in line]
        if m.crops == 10 or "test half" in m.split:
            assert all(error in rows[0] for error in errors)
            assert f"({100 * m.top5_interval[0]:.1f} to {100 * m.top5_interval[1]:.1f})" in rows[0]


@pytest.mark.slow
def test_processes_that_use_it_first_at_once_unpack_it_once(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from model.artifacts.packed import bundled_folder as unpack; "
    command = [sys.executable, "-c", f"{script}print(unpack('elpv', Path(sys.argv[1])))", str(tmp_path / "networks")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]
    assert printed == [str(tmp_path / "networks" / "elpv" / "3")] * 2


@pytest.mark.slow
def test_onnxruntime_alone_measures_the_same(bundled: Artifact) -> None:
    """On every eighth held-out image, with none of our code but the one that loads and decodes images."""
    dataset = load_elpv()
    session = ort.InferenceSession(str(bundled.network_path))
    right = 0
    examples = dataset.test[::8]
    for example in examples:
        pixels = decode_image(example.path.read_bytes()).pixels
        probabilities, _ = session.run(["probabilities", "features"], {"images": pixels[None], "crops": np.array([4])})
        right += int(probabilities[0].argmax() == example.label)
    expected = 1 - bundled.manifest.measurements[0].top1_error
    assert abs(right / len(examples) - expected) < 4 * (expected * (1 - expected) / len(examples)) ** 0.5


@pytest.mark.parametrize("name", ["network.pack", "manifest.json"])
def test_a_damaged_bundle_is_named_with_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(BUNDLED / "elpv", tmp_path / "elpv")
    damaged = bytearray((tmp_path / "elpv" / name).read_bytes())
    damaged[len(damaged) // 2] = ord("9") if damaged[len(damaged) // 2] != ord("9") else ord("8")
    (tmp_path / "elpv" / name).write_bytes(damaged)
    monkeypatch.setattr("model.artifacts.packed.BUNDLED", tmp_path)
    with pytest.raises(ArtifactError, match=f"elpv/{name}, a bundled file, is damaged: its SHA-256 is") as raised:
        unpack_bundled("elpv", tmp_path / "out")
    assert hashlib.sha256(damaged).hexdigest() in str(raised.value)
    with pytest.raises(ArtifactError, match="no artifact in"):
        artifacts.load(tmp_path / "out")


def test_a_bundle_unpacks_to_the_artifact_that_it_was_made_of(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = make_bundle(artifact, "rounded", tmp_path)
    compress_quickly(monkeypatch)
    write_bundle(rounded, tmp_path / "again" / "rounded")
    for bundles in (tmp_path, tmp_path / "again"):
        monkeypatch.setattr("model.artifacts.packed.BUNDLED", bundles)
        unpacked = unpack_bundled("rounded", bundles / "home")
        assert (unpacked.manifest, unpacked.labels) == (rounded.manifest, rounded.labels)
    with pytest.raises(ArtifactError, match="aren't rounded: pack its run"):
        write_bundle(artifact, tmp_path / "unrounded")
