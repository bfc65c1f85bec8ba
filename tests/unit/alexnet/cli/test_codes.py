"""`alexnet codes train`, `alexnet index evaluate` and a server that searches by codes, on a small network."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest

from index.folder.store import FolderIndex
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from tests.helpers.commands import invoke, run_alexnet
from tests.helpers.indexes import make_entry
from tests.helpers.server import served


@pytest.fixture(scope="module")
def coded(artifact: Artifact, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A copy of the artifact with an encoder, and a float16 index of 420 rows beside it."""
    home = tmp_path_factory.mktemp("coded")
    shutil.copytree(artifact.path, home / "a" / "1")
    invoke("index", "add", "--data", few, "--artifact", home / "a", "--index", home / "i", "--dtype", "float16")
    add_variations(home / "i", home / "rows.npz", 387)
    printed = invoke("codes", "train", "--index", home / "i", "--artifact", home / "a", "--bits", 28, "--steps", 60)
    assert printed.startswith("28 bits: ")
    assert "of the 10 nearest neighbors are among the first 100" in printed
    return replace(artifacts.load(home / "a"), path=home / "a" / "1")


def add_variations(index: Path, exported: Path, count: int) -> None:
    """Add `count` rows that resemble those of the indexed images, as similar images would."""
    invoke("index", "export", "--index", index, "--output", exported)
    generator = np.random.default_rng(8)
    with np.load(exported) as arrays:
        features, labels = arrays["features"], arrays["labels"]
    rows = np.arange(count) % len(features)
    changed = features[rows] * generator.uniform(0.8, 1.2, (count, features.shape[1])).astype(np.float32)
    with closing(FolderIndex(index, writable=True)) as opened:
        opened.add(changed, [make_entry(number, str(labels[row])) for number, row in enumerate(rows)])


def test_encoder_belongs_to_the_artifact(coded: Artifact) -> None:
    encoder = Encoder.of(coded)
    assert encoder is not None
    assert (encoder.coder, encoder.bits, encoder.dim) == ("autoencoder", 28, 64)
    assert (coded.path.parents[1] / "i" / "features-1.f16").stat().st_size == 420 * 64 * 2


@pytest.mark.slow
def test_codes_of_an_index_in_int8(artifact: Artifact, images: Path, few: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact.path, tmp_path / "a" / "1")
    invoke("quantize", "--data", images, "--artifact", tmp_path / "a", "--max-images", 30, "--device", "cpu")
    options = ["--artifact", tmp_path / "a", "--index", tmp_path / "i"]
    int8 = ["--precision", "int8"]
    invoke("index", "add", "--data", few, *options, *int8)
    add_variations(tmp_path / "i", tmp_path / "rows.npz", 387)
    train = ["codes", "train", *options, "--bits", 8, "--steps", 2]
    refused = run_alexnet(*train)
    assert refused.returncode == 1
    assert "patterns version 1 in float32: choose the one that made it with --precision int8" in refused.stderr
    assert invoke(*train, *int8).startswith("8 bits: ")
    image = next(few.rglob("*.jpg"))
    document = json.loads(invoke("similar", image, *options, *int8, "--search", "binary", "--json"))
    assert document["results"][0]["neighbors"][0]["path"] == str(image)


def test_evaluate_index(coded: Artifact, images: Path) -> None:
    home = coded.path.parents[1]
    options = ["--artifact", home / "a", "--max-images", 60, "--plot", home / "p.png", "--json"]
    result = json.loads(invoke("index", "evaluate", "--index", home / "i", *options))
    assert (result["num_queries"], result["num_indexed"]) == (60, 60)
    assert result["recall"]["exact"] == {"6": 1.0, "10": 1.0}
    assert result["recall"]["binary"]["10"] > 0.99  # the shortlist holds all 420 images
    assert 0 < result["recall"]["hash_lookup"]["10"] <= 1
    assert result["precision"]["1"] > 0.8
    assert (home / "p.png").read_bytes().startswith(b"\x89PNG")
    printed = invoke(
        "index", "evaluate", "--index", home / "i", "--artifact", home / "a", "--data", images, "--max-images", 10
    )
    assert printed.startswith("10 queries; ")
    known = run_alexnet("index", "evaluate", "--index", home / "i", "--artifact", home / "a", "--max-images", 10)
    assert known.stdout.startswith("10 queries, 10 of them in the index; ")
    assert "give their folder with --data" in known.stderr


def test_similar_by_codes(coded: Artifact, images: Path) -> None:
    home, image = coded.path.parents[1], next(images.rglob("*.jpg"))
    rows = {
        search: json.loads(
            invoke("similar", image, "--artifact", home / "a", "--index", home / "i", "--search", search, "--json")
        )
        for search in ("exact", "binary")
    }
    ids = {search: [row["id"] for row in document["results"][0]["neighbors"]] for search, document in rows.items()}
    assert ids["binary"] == ids["exact"]


def test_server_searches_by_codes(coded: Artifact, images: Path, tmp_path: Path) -> None:
    home, image = coded.path.parents[1], next(images.rglob("*.jpg")).read_bytes()
    with served(coded, tmp_path, {"ALEXNET_INDEX": str(home / "i")}) as (url, _):
        assert httpx2.get(f"{url}/info").json()["index"] == {
            "size": 420, "codes": {"coder": "autoencoder", "bits": 28}
        }  # fmt: skip
        exact, binary = (
            httpx2.post(f"{url}/similar?search={search}", content=image).json()["neighbors"]
            for search in ("exact", "binary")
        )
        assert exact == binary
        response = httpx2.get(f"{url}/images/1/similar?search=hash_lookup&k=3").json()
        assert response["neighbors"][0]["id"] == 1
        assert httpx2.get(f"{url}/images/1/similar?search=fast").status_code == 422
