"""Indexing that is killed or stopped keeps what it added, and resumes; a damaged artifact is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet.cli.errors import HELP
from index.build import build, find_images
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from model.shell_command import shell_command
from tests.helpers import training_runs

ALEXNET = Path(sys.executable).parent / "alexnet"


@pytest.mark.parametrize("rows", [16, pytest.param(48, marks=pytest.mark.slow)])
def test_index_killed_and_built_on(
    artifact: Artifact, model: OnnxModel, images: Path, tmp_path: Path, rows: int
) -> None:
    path = tmp_path / "index"
    command = [
        str(p) for p in (ALEXNET, "index", "add", "--data", images, "--artifact", artifact.path, "--index", path)
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        features = path / "features-1.f32"
        while process.poll() is None and not (features.exists() and features.stat().st_size >= rows * 64 * 4):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"
    half = FolderIndex.open(path)
    kept = len(half)
    for number in range(kept):  # no half row: each has its image's feature
        source = half.catalog.get(number + 1).source
        assert source is not None
        feature = model.features(decode_image(source.read_bytes()).pixels[None], half.crops)[0]
        assert half.search(Query(feature, 1))[0].entry.id == number + 1
    half.close()
    index = FolderIndex.create(path, artifact)
    report = build(index, model, find_images(images))
    assert (report.added, report.existing) == (90 - kept, kept)
    assert len(index) == 90
    index.close()


def test_ctrl_c_says_that_what_was_added_is_kept(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    many, path = tmp_path / "many", tmp_path / "index"
    many.mkdir()
    for number, file in enumerate(sorted(images.rglob("*.jpg")) * 5):
        (many / f"{number}.jpg").write_bytes(file.read_bytes() + bytes([number // 90]))
    command = [str(p) for p in (ALEXNET, "index", "add", "--data", many, "--artifact", artifact.path, "--index", path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=training_runs.accept_ctrl_c
    ) as process:
        features = path / "features-1.f32"
        while process.poll() is None and not (features.exists() and features.stat().st_size >= 48 * 64 * 4):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "stopped; what was added is kept: run the same command to resume\n"
    index = FolderIndex.open(path)
    kept = len(index)
    index.close()
    assert 0 < kept < 450


@pytest.mark.parametrize("place", [0.001, 0.3, 0.5, 0.9, 0.9999])
def test_one_flipped_bit_anywhere_is_found(artifact: Artifact, tmp_path: Path, place: float) -> None:
    copy = tmp_path / "1"
    copy.mkdir()
    for file in artifact.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    network = bytearray((copy / "network.onnx").read_bytes())
    network[int(place * len(network))] ^= 1
    (copy / "network.onnx").write_bytes(network)
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.load(copy)


def test_a_server_refuses_a_damaged_artifact_in_two_lines(artifact: Artifact, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    copy.mkdir()
    for file in artifact.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "network.onnx").write_bytes(b"")
    done = subprocess.run([ALEXNET, "serve", "--artifact", copy], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.match(r"error: .*network\.onnx is damaged: expected [\d,]+ bytes, got 0\n", done.stderr)
    shown = HELP[ArtifactError].replace("`alexnet ", f"`{shell_command(ALEXNET)} ")
    assert done.stderr.splitlines()[1:] == [f"help: {shown}"]
