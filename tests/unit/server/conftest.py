"""Fixtures of the server's tests: an image, and a server whose index may be changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.drawings import draw, encode
from tests.helpers.indexes import build_index
from tests.helpers.make_once import make_once
from tests.helpers.server import served_in_thread


@pytest.fixture(scope="session")
def jpeg(images: Path) -> bytes:
    """An indexed image, of the class stripes."""
    return (images / "stripes" / "04.jpg").read_bytes()


@pytest.fixture(scope="session")
def index_of_few(artifact: Artifact, model: OnnxModel, few: Path, shared: Path) -> Path:
    """An index of 33 images: 11 of each label. Don't change it."""
    return make_once(shared / "indexes" / "few", lambda path: build_index(path, artifact, model, few))


@pytest.fixture
def writable_folder(index_of_few: Path, tmp_path: Path) -> Path:
    """A copy of `index_of_few`."""
    shutil.copytree(index_of_few, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def writable_service(artifact: Artifact, writable_folder: Path) -> Service:
    """A service of the index in `writable_folder`; `writable_client` closes it."""
    return Service(Settings(artifact=artifact.path, index=writable_folder))


@pytest.fixture
def writable_client(writable_service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(writable_service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def new_images() -> list[bytes]:
    """Three images that no index has."""
    return [encode(draw("circles", np.random.default_rng(seed))) for seed in (1001, 1002, 1003)]


@pytest.fixture(scope="session")
def address(artifact: Artifact) -> Iterator[str]:
    """HOST:PORT of a server in this process, for clients that need a connection."""
    with served_in_thread(Service(Settings(artifact=artifact.path))) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def triton(address: str) -> Iterator[Any]:
    """Triton's own client, unmodified."""
    from tritonclient import http

    with http.InferenceServerClient(address) as client:
        yield client
