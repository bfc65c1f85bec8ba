"""A tiny real network, trained on images made here: the real thing with 64 hidden neurons instead of 4096."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from index.build import build, find_images
from index.store import ImageIndex
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.drawings import CLASSES, draw, encode


def drawn(root: Path, count: int, seed: int) -> Path:
    """`count` images of each class, one subfolder a class."""
    generator = np.random.default_rng(seed)
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for number in range(count):
            (root / kind / f"{number:02d}.jpg").write_bytes(encode(draw(kind, generator)))
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes x 30 images."""
    return drawn(tmp_path_factory.mktemp("data") / "patterns", 30, 7)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes x 11 images."""
    return drawn(tmp_path_factory.mktemp("data") / "few", 11, 8)


@pytest.fixture(scope="session")
def artifact(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network trained on `images` by the real loop, exported, measured and published."""
    from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
    from training.train import train

    config = TrainConfig.create(
        recipe=RecipeOptions(epochs=4, batch_size=8, learning_rate=0.005),
        network=NetworkOptions(hidden=64),
        run=RunOptions(name="patterns"),
        environment=Environment(data=str(images), precision="float32", home=tmp_path_factory.mktemp("trained")),
    )
    published = train(config)
    assert published is not None
    return published


@pytest.fixture(scope="session")
def model(artifact: Artifact) -> OnnxModel:
    return OnnxModel(artifacts.load(artifact.path).network, "cpu")


@pytest.fixture(scope="session")
def index_path(artifact: Artifact, model: OnnxModel, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of all `images`."""
    path = tmp_path_factory.mktemp("index") / "patterns"
    index = ImageIndex.create(path, artifact)
    build(index, model, find_images(images))
    index.close()
    return path


@pytest.fixture(scope="session")
def client(artifact: Artifact, index_path: Path) -> Iterator[TestClient]:
    """A server of the small network and its index."""
    service = Service(Settings(artifact=artifact.path, index=index_path, max_body_bytes=5_000_000))
    with TestClient(create_app(service), raise_server_exceptions=False) as test_client:
        yield test_client
