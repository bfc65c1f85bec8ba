"""The main job as a user does it, by commands: a folder of images -> artifact -> index -> server -> answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from model.artifacts.artifact import Artifact
from model.images.preprocess import decode_image
from tests.helpers.commands import invoke, run_alexnet

ROOT = Path(__file__).parents[2]
ALEXNET = Path(sys.executable).parent / "alexnet"


def run(*command: object, cwd: Path, code: int = 0) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def home(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder after training and indexing."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(few, home / "patterns")
    (home / "patterns" / "stripes" / "broken.jpg").write_bytes(b"not an image")
    printed = run(
        sys.executable, ROOT / "training" / "run.py", "--data", "patterns",
        "--hidden", 64, "--epochs", 1, "--batch-size", 8, cwd=home,
    )  # fmt: skip
    assert "skipped 1 of 34 files" in printed
    assert "broken.jpg" in printed
    assert re.search(r"artifact: artifacts/patterns/1\n", printed)
    assert "top-1 error" in printed
    assert "1 unreadable" in run(ALEXNET, "index", "add", "--data", "patterns", cwd=home)
    return home


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A running `alexnet serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (home / "server.log").open("w")
    with subprocess.Popen([ALEXNET, "serve", "--port", str(port)], cwd=home, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                if httpx2.get(f"{url}/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield url
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    log.close()
    assert "Traceback" not in (home / "server.log").read_text()


def test_server_agrees_with_the_onnx_file(home: Path, url: str, few: Path) -> None:
    path = few / "checks" / "10.jpg"
    with path.open("rb") as file:
        response = httpx2.post(f"{url}/classify", files={"image": file}).json()
    alone = ort.InferenceSession(str(home / "artifacts" / "patterns" / "1" / "network.onnx"))
    pixels = decode_image(path.read_bytes()).pixels
    expected, _ = alone.run(None, {"images": pixels[None], "crops": np.arange(10)})
    got = {entry["index"]: entry["probability"] for entry in response["predictions"]}
    np.testing.assert_allclose([got[i] for i in range(3)], expected[0], atol=1e-6)
    assert sum(got.values()) <= 1 + 1e-6


def test_indexed_image_finds_itself_at_distance_0(url: str, few: Path) -> None:
    for path in sorted(few.glob("*/0[1-5].jpg")):
        neighbors = httpx2.post(f"{url}/similar", content=path.read_bytes()).json()["neighbors"]
        assert len(neighbors) == 6
        assert neighbors[0]["distance"] == 0
        assert neighbors[0]["label"] == path.parent.name
        assert httpx2.get(url + neighbors[0]["thumbnail"]).status_code == 200


def test_terminal_agrees_with_the_server(home: Path, url: str, few: Path) -> None:
    """With a training image: a held-out one is compared with itself, so its familiarity depends on rounding."""
    path = few / "circles" / "05.jpg"
    indexed = home / "patterns" / "circles" / "05.jpg"
    response = httpx2.post(f"{url}/classify", content=path.read_bytes()).json()
    classified = json.loads(run_alexnet("classify", path, "--json", folder=home).stdout)["results"][0]
    assert classified["familiarity"] == pytest.approx(response["familiarity"], abs=0.2)
    assert classified["familiar"] == response["familiar"]
    served, printed = response["predictions"], classified["predictions"]
    assert [entry["id"] for entry in printed] == [entry["id"] for entry in served]
    np.testing.assert_allclose(
        [entry["probability"] for entry in printed], [entry["probability"] for entry in served], atol=1e-6
    )
    neighbors = json.loads(run_alexnet("similar", path, "--json", folder=home).stdout)["results"][0]["neighbors"]
    assert neighbors[0] == {
        "id": neighbors[0]["id"],
        "key": None,
        "distance": 0.0,
        "label": "circles",
        "path": str(indexed),
    }
    assert "%  circles" in run(ALEXNET, "classify", path, cwd=home)


def test_evaluate_agrees_with_the_manifest(home: Path) -> None:
    manifest = json.loads((home / "artifacts" / "patterns" / "1" / "manifest.json").read_text())
    printed = run_alexnet("evaluate", "--data", "patterns", folder=home).stdout
    for measurement in manifest["measurements"]:
        assert f"{100 * measurement['top1_error']:.2f} %" in printed
    assert sum(manifest["training"]["data"]["skipped"].values()) == 1


def test_indexing_again_adds_nothing(home: Path, url: str) -> None:
    held = run_alexnet("index", "add", "--data", "patterns", folder=home)  # the server holds the index
    assert held.returncode == 1
    assert "another process" in held.stderr
    shutil.copytree(home / "indexes" / "patterns" / "1", home / "copy")
    again = run_alexnet("index", "add", "--data", "patterns", "--index", "copy", folder=home)
    assert "33 images (0 added, 33 already indexed, 1 unreadable)" in again.stdout


def test_an_index_is_maintained(
    artifact: Artifact, index_path: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(index_path, "copy")
    assert "90 images, all intact" in invoke("index", "verify", "--index", "copy")
    assert invoke("index", "list", "--index", "copy", "--label", "circles").count("circles") >= 30
    assert invoke("index", "remove", 1, 2, "--index", "copy") == "2 images removed\n"
    assert invoke("index", "restore", 2, "--index", "copy") == "1 image restored\n"
    assert "1 image deleted, 89 kept" in invoke("index", "compact", "--index", "copy")
    assert "89 images" in invoke("index", "export", "--index", "copy", "--output", "all.npz")
    with np.load("all.npz") as arrays:
        assert arrays["features"].shape == (89, 64)
        assert sorted(set(arrays["labels"])) == ["checks", "circles", "stripes"]
    Path("new/circles").mkdir(parents=True)
    Image.open(images / "circles" / "05.jpg").save("new/circles/smaller.jpg", quality=60)
    assert "1 added" in invoke("index", "add", "--data", "new", "--artifact", artifact.path, "--index", "copy")
    pairs = [line.split("\t") for line in invoke("index", "duplicates", "--index", "copy").splitlines()]
    assert pairs
    assert all(first == second for _, _, _, first, second, *_ in pairs)


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run(images: Path, tmp_path: Path) -> None:
    common = [sys.executable, ROOT / "training" / "run.py", "--data", images, "--hidden", 16, "--batch-size", 8]
    run(*common, "--epochs", 2, "--runs", "whole", cwd=tmp_path)
    command = [str(part) for part in [*common, "--epochs", 2, "--runs", "stopped"]]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   1"):
                os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    (stopped,) = (tmp_path / "stopped").iterdir()
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 1
    run(sys.executable, ROOT / "training" / "run.py", "--resume", stopped, cwd=tmp_path)
    (whole,) = (tmp_path / "whole").iterdir()
    losses = [
        [json.loads(line)["train_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole, stopped)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--data", "nothing"], "error: no folder at nothing: --data takes a folder"),
        (["train", "--lr-multipliers", "conv1"], "error: invalid --lr-multipliers 'conv1'"),
        (["train", "--resume", "nothing"], "error: no run at nothing"),
        (["index", "add", "--artifact", "nothing", "--data", "elpv"], "error: no artifact in nothing"),
        (["evaluate", "--artifact", "nothing", "--data", "elpv"], "error: no artifact in nothing"),
    ],
)
def test_errors_say_what_helps(tmp_path: Path, command: list[str], message: str) -> None:
    failed = run_alexnet(*command, folder=tmp_path)
    assert failed.returncode == 1
    assert message in failed.stderr
    assert "\nhelp: " in failed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--artifact", "nothing", "--port", "0"], "error: no artifact in nothing"),
        (["--host", "203.0.113.1"], "error: cannot listen on 203.0.113.1:8000"),
    ],
)
def test_errors_of_a_server_say_what_helps(tmp_path: Path, options: list[str], message: str) -> None:
    printed = run(ALEXNET, "serve", *options, cwd=tmp_path, code=1)
    assert message in printed
    assert "\nhelp: " in printed
    assert "Traceback" not in printed
