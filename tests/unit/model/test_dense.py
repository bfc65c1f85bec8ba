"""The dense network says what torch says of the whole picture, is near ten views, and is used only where asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from index.backends import to_change
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError
from model.images.crops import CENTRE, TEN
from model.images.preprocess import read_picture
from model.network.dense import dense
from model.network.initialization import initialise
from model.network.onnx_layers import Layers, folded
from model.network.spec import BORDERS, POOLED, WIDTHS, Architecture
from model.network.torch_module import AlexNet
from model.runtime import OnnxModel
from tests.helpers.drawings import CLASSES, draw

ALEXNET = Path(sys.executable).parent / "alexnet"


def whole(network: AlexNet, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, 256, 256) -> probabilities and features: fc6 to fc8 slide over the maps of the last pooling."""
    architecture = network.architecture
    act: Callable[[torch.Tensor], torch.Tensor] = torch.tanh if architecture.activation == "tanh" else F.relu
    kept = 1 - architecture.dropout
    top, left, bottom, right = BORDERS[architecture.border]
    x = F.pad(pixels * architecture.input_scale, (left, right, top, bottom))
    for name in WIDTHS:
        x = network._convolve(name, x, act)
        if name in POOLED and not architecture.pool_first:
            x = network._pool(name, x)
    x = act(network.conv6(x)) if architecture.sixth else x  # (N, C, 7, 7)
    x = F.conv2d(x, network.fc6.weight.reshape(-1, x.shape[1], 6, 6), network.fc6.bias)  # (N, hidden, 2, 2)
    features = act(F.conv2d(act(x) * kept, network.fc7.weight[:, :, None, None], network.fc7.bias))
    logits = F.conv2d(features * kept, network.fc8.weight[:, :, None, None], network.fc8.bias)
    return logits.softmax(1).mean((2, 3)), features.mean((2, 3))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(classes=7, hidden=48, input_scale=1 / 64),
        Architecture(classes=7, hidden=48, normalisation="caffe", border="none", pool_first=True),
        Architecture(classes=7, hidden=48, activation="tanh", pool=2, sixth=True, input_scale=1 / 64),
    ],
    ids=["the paper's", "Caffe's", "a sixth convolution"],
)
def test_it_says_what_torch_says(architecture: Architecture, tmp_path: Path) -> None:
    network = AlexNet(architecture).eval()
    initialise(network, "he", 0)
    with torch.no_grad():
        network.fc8.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
        if architecture.input_scale == 1:
            network.conv1.weight /= 64
    mean = np.random.default_rng(0).uniform(90, 150, (256, 256, 3)).astype(np.float32)
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    onnx.save(dense(Layers(architecture, folded(architecture, weights)), mean), str(tmp_path / "dense.onnx"))
    generator = np.random.default_rng(3)
    pictures = np.stack([draw(kind, generator, 256)[:, :256] for kind in CLASSES])
    pixels = torch.from_numpy(pictures - mean).permute(0, 3, 1, 2)
    model = OnnxModel(tmp_path / "dense.onnx", "cpu")
    with torch.no_grad():
        plain, mirrored = whole(network, pixels), whole(network, pixels.flip(3))
    for views, expected in (
        (CENTRE, plain),
        (TEN, tuple((a + b) / 2 for a, b in zip(plain, mirrored, strict=True))),
    ):
        probabilities, features = model.run(pictures, views)
        np.testing.assert_allclose(probabilities, expected[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(features, expected[1].numpy(), atol=1e-4 * float(expected[1].abs().max()))


@pytest.fixture(scope="module")
def added(artifact: Artifact, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, str]:
    """An artifact of its own with the dense network."""
    home = tmp_path_factory.mktemp("dense")
    shutil.copytree(artifact.path, home / "1")
    command = [str(ALEXNET), "dense", str(home / "1"), "--data", str(pictures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return artifacts.load(home / "1", "dense"), done.stdout


def test_it_is_measured_and_kept_beside(added: tuple[Artifact, str], artifact: Artifact) -> None:
    found, said = added
    assert found.network.name == "network.dense.onnx"
    assert "1 view, dense" in said
    assert {(m.precision, m.views) for m in found.manifest.measurements} == {
        (precision, views) for precision in ("float32", "dense") for views in (1, 10)
    }
    assert artifacts.load(found.path).network_sha256 == artifact.network_sha256  # still the default


def test_it_is_near_ten_views(added: tuple[Artifact, str], pictures: Path) -> None:
    some: NDArray[np.uint8] = np.stack(
        [read_picture(p.read_bytes()).pixels for p in sorted(pictures.rglob("*.jpg"))[::6]]
    )
    ten = OnnxModel(artifacts.load(added[0].path).network, "cpu").run(some, TEN)[0]
    whole_picture = OnnxModel(added[0].network, "cpu").run(some, TEN)[0]
    assert (ten.argmax(1) == whole_picture.argmax(1)).mean() > 0.9
    assert 0 < np.abs(ten - whole_picture).mean() < 0.1


def test_its_index_is_its_own(added: tuple[Artifact, str], index_path: Path, tmp_path: Path) -> None:
    from model.exceptions import IndexStoreError

    assert added[0].index_in(Path("indexes")).name == "1-dense"
    shutil.copytree(index_path, tmp_path / "index")
    with pytest.raises(IndexStoreError, match="another network"):
        to_change(tmp_path / "index", added[0], "float32")


def test_without_it_the_command_is_named(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="found none: make it with `alexnet dense`"):
        artifacts.load(artifact.path, "dense")
