"""Published networks become artifacts that compute what their files do, and no fault in between goes unnoticed.

The files are written here, laid out as their publishers' are, with random weights and 32 hidden neurons.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import elpv_dataset
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError, DownloadError, ExportError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.network.equivalence import TOLERANCE
from model.network.registry import build_spec
from model.network.spec import LRN, Conv, Layer, MaxPool, NetworkConfig, NetworkSpec
from model.pretrained import importer
from model.pretrained.caffe_mean import read_mean
from model.pretrained.caffe_reader import CHANNEL_MEANS
from model.pretrained.specs import (
    BVLC_ALEXNET,
    CAFFENET,
    PRETRAINED,
    TORCHVISION_ALEXNET,
    PretrainedFile,
    PretrainedSpec,
)
from model.runtime import OnnxModel
from tests.helpers import pretrained_files
from tests.helpers.drawings import CLASSES, draw, encode
from tests.helpers.pretrained_files import ONE_TOWER, SHAPES, random_weights, small, state_dict

GROCERY = Path(__file__).parents[5] / "shared" / "data" / "grocery.zip"
FORMS = {
    "bvlc opset 3": (BVLC_ALEXNET, "net.onnx"),
    "bvlc opset 12": (BVLC_ALEXNET, "net.onnx"),
    "caffenet opset 12": (CAFFENET, "net.onnx"),
    "torchvision": (TORCHVISION_ALEXNET, "net.pth"),
    "torchvision exported": (TORCHVISION_ALEXNET, "net.onnx"),
    "bvlc in Caffe": (BVLC_ALEXNET, "net.caffemodel"),
    "caffenet in Caffe": (CAFFENET, "net.caffemodel"),
}


def write(form: str, folder: Path) -> tuple[PretrainedSpec, Path]:
    """Write a file of this form; return its specification and path."""
    published, name = FORMS[form]
    file, words = folder / name, form.split()
    if name.endswith(".caffemodel"):
        file.write_bytes(pretrained_files.caffemodel(random_weights(SHAPES)))
    elif words[0] == "torchvision":
        weights = random_weights(ONE_TOWER, 1.0)
        if name.endswith(".onnx"):
            onnx.save(pretrained_files.exported(weights), str(file))
        else:
            torch.save(state_dict(weights), file)
    else:
        onnx.save(pretrained_files.zoo(int(words[2]), words[0] == "caffenet"), str(file))
    return small(published, file), file


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    """A solar cell, which is real but gray, and two drawings, which are in color."""
    folder = Path(elpv_dataset.__path__[0]) / "data" / "images"
    real = [decode_image((folder / f"cell{number:04d}.png").read_bytes()).pixels for number in (1,)]
    drawn = [decode_image(encode(draw(kind, np.random.default_rng(5)))).pixels for kind in CLASSES[:2]]
    return np.stack(real + drawn)


Written = Callable[[str], tuple[PretrainedSpec, Path]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """`write`, but each form is written only once, for all tests that only read the file."""
    return cache(lambda form: write(form, tmp_path_factory.mktemp("published")))


@pytest.fixture(scope="module", params=FORMS)
def imported(
    request: pytest.FixtureRequest, written: Written, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PretrainedSpec, PretrainedFile, Artifact]:
    published, file = written(request.param)
    root = tmp_path_factory.mktemp("artifacts")
    artifact = importer.import_file(published, root, file, published.releases[0], lambda _: None)
    return published, importer.read_file(published, file)[1], artifact


@pytest.mark.parametrize("crops", [CENTER_CROP, pytest.param(TEN_CROP, marks=pytest.mark.slow)], ids=["center", "ten"])
def test_the_artifact_computes_what_the_file_does(
    imported: tuple[PretrainedSpec, PretrainedFile, Artifact], photographs: NDArray[np.uint8], crops: tuple[int, ...]
) -> None:
    published, source, artifact = imported
    probabilities, features = importer.run_file(published, source, photographs, crops)
    result = OnnxModel(artifact.network_path, "cpu").run(photographs, crops)
    np.testing.assert_allclose(result[0], probabilities, atol=TOLERANCE)
    np.testing.assert_allclose(result[1], features, atol=TOLERANCE * features.max())
    assert np.ptp(probabilities, axis=0).max() > 1e-3  # results of the images differ
    assert (features > 0).mean() > 0.1


def test_the_manifest_of_an_imported_artifact(imported: tuple[PretrainedSpec, PretrainedFile, Artifact]) -> None:
    published, _, artifact = imported
    manifest = artifact.manifest
    assert (manifest.name, manifest.num_classes, len(artifact.labels)) == (published.name, 1000, 1000)
    assert (artifact.labels[0].id, artifact.labels[999].id) == ("n01440764", "n15075141")
    (figure,) = manifest.measurements
    assert figure.published
    assert manifest.training["sha256"] == published.releases[0].sha256
    assert "BSD-3-Clause" in manifest.license
    assert 0 < manifest.export_difference <= TOLERANCE


@pytest.mark.slow
@pytest.mark.shared
def test_photographs_in_color(tmp_path: Path) -> None:
    import zipfile

    if not GROCERY.is_file():
        pytest.skip("no grocery.zip in ../shared/data")
    with zipfile.ZipFile(GROCERY) as packed:
        names = [name for name in packed.namelist() if "/test/" in name and name.endswith(".jpg")][::400]
        images = np.stack([decode_image(packed.read(name)).pixels for name in names])
    for form in ("bvlc opset 12", "caffenet opset 12", "torchvision"):
        published, file = write(form, tmp_path)
        spec, source = importer.read_file(published, file)
        importer.convert(published, spec, source, tmp_path / "served.onnx")
        expected = importer.run_file(published, source, images, CENTER_CROP)
        result = OnnxModel(tmp_path / "served.onnx", "cpu").run(images, CENTER_CROP)
        np.testing.assert_allclose(result[0], expected[0], atol=TOLERANCE)
        np.testing.assert_allclose(result[1], expected[1], atol=TOLERANCE * expected[1].max())


def _weights(name: str, edit: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Callable[..., Any]:
    return lambda p, a, s: (p, a, s._replace(weights=dict(s.weights) | {name: edit(s.weights[name])}))


def _layers(edit: Callable[[Layer], Layer | None]) -> Callable[..., Any]:
    """Change the network's layers by `edit`; a layer that becomes None is left out."""

    def change(spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, layers=tuple(new for layer in spec.layers if (new := edit(layer)) is not None))

    return lambda p, a, s: (p, change(a), s)


def _lrn(**changes: Any) -> Callable[..., Any]:
    return _layers(lambda layer: replace(layer, **changes) if isinstance(layer, LRN) else layer)


def _as(name: str) -> Callable[..., Any]:
    return lambda p, a, s: (p, build_spec(replace(a.config, name=name)), s)


def _with_border(layer: Layer) -> Layer:
    if isinstance(layer, Conv) and layer.name == "conv1":
        return replace(layer, padding=(0, 0, 3, 3))
    return replace(layer, ceil_mode=False) if isinstance(layer, MaxPool) else layer


def _preprocessing(**changes: Any) -> Callable[..., Any]:
    """The file is run as before; the artifact is made with other preprocessing."""
    return lambda p, a, s: (replace(p, **changes), a, s._replace(run=lambda x: s.run(_undo(p, changes, x))))


def _undo(published: PretrainedSpec, changes: dict[str, Any], seen: NDArray[np.float32]) -> NDArray[np.float32]:
    wrong = replace(published, **changes)
    x = seen.transpose(0, 2, 3, 1)
    x = x[..., ::-1] if wrong.channel_order == "BGR" else x
    return published.preprocess(x * np.array(wrong.std, np.float32) + np.array(wrong.mean, np.float32))


FAULTS = {
    "RGB for BGR": ("bvlc opset 12", _preprocessing(channel_order="RGB")),
    "another mean": ("bvlc opset 12", _preprocessing(mean=(121.0, 116.779, 103.939))),
    "no standard deviation": ("torchvision", _preprocessing(std=(1.0, 1.0, 1.0))),
    "BGR for RGB": ("torchvision", _preprocessing(channel_order="BGR")),
    "the paper's norm": ("bvlc opset 12", _lrn(alpha=1e-4, k=2.0, groups=2)),
    "the norm by tower": ("bvlc opset 12", _lrn(k=2.0, groups=2)),
    "no norm": ("caffenet opset 12", _layers(lambda layer: None if isinstance(layer, LRN) else layer)),
    "norm before pooling": ("caffenet opset 12", _as("bvlc-alexnet")),
    "pooling before norm": ("bvlc opset 12", _as("caffenet")),
    "a border": ("bvlc opset 12", _layers(_with_border)),
    "towers swapped in conv2": ("bvlc opset 12", _weights("conv2.weight", lambda w: np.roll(w, 128, 0))),
    "channels swapped in conv4": ("bvlc opset 12", _weights("conv4.weight", lambda w: w[:, ::-1])),
    "a kernel turned": ("torchvision", _weights("conv1.weight", lambda w: w.transpose(0, 1, 3, 2))),
    "classes turned round": ("torchvision", _weights("fc8.bias", lambda b: b[::-1])),
    "maps in another order": (
        "bvlc in Caffe",
        _weights("fc6.weight", lambda w: w.reshape(-1, 256, 36).transpose(0, 2, 1).reshape(-1, 9216)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_caught(fault: str, written: Written, tmp_path: Path) -> None:
    form, plant = FAULTS[fault]
    published, file = written(form)
    published, spec, source = plant(published, *importer.read_file(published, file))
    with pytest.raises(ExportError, match="differ by"):
        importer.convert(published, spec, source, tmp_path / "served.onnx")
    assert not (tmp_path / "served.onnx").exists()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = random_weights(ONE_TOWER)
    state = state_dict(weights) | {"features.0.weight": torch.zeros(96, 3, 11, 11)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ArtifactError, match=r"isn't torchvision-alexnet: features.0.weight differs"):
        importer.read_file(small(TORCHVISION_ALEXNET), tmp_path / "net.pth")
    (tmp_path / "net.caffemodel").write_bytes(pretrained_files.caffemodel(random_weights(SHAPES))[:-40_000])
    with pytest.raises(ArtifactError, match="isn't a complete Caffe model"):
        importer.read_file(small(BVLC_ALEXNET), tmp_path / "net.caffemodel")


@pytest.mark.parametrize("name", ["net.onnx", "net.pth"])
@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>", b"", b"\x08\x07\x12\x04none", b"PK\x03\x04", b"\x80\x02h\x09."]
)
def test_what_is_no_network(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    published = small(TORCHVISION_ALEXNET if name.endswith("pth") else BVLC_ALEXNET)
    with pytest.raises(
        ArtifactError, match=r"(is a web page|isn't a complete ONNX file|isn't a complete PyTorch weights file)"
    ):
        importer.read_file(published, tmp_path / name)


@pytest.mark.parametrize("installed", [None, SimpleNamespace(__version__="5.0", dnn=SimpleNamespace())])
def test_without_opencv_4_the_command_for_this_installation_is_named(
    installed: SimpleNamespace | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", installed)  # None: it can't be imported
    monkeypatch.setattr("model.requirements.find_spec", lambda name: None)  # as in an environment made by uv
    (tmp_path / "net.caffemodel").touch()
    with pytest.raises(ArtifactError, match=r"OpenCV .*: uv pip install .*'alexnet-server\[caffe\]'"):
        importer.read_file(BVLC_ALEXNET, tmp_path / "net.caffemodel")


@pytest.mark.slow
def test_the_light_model_of_the_zoo(tmp_path: Path) -> None:
    """Its structure is the published file's; its weights are all one number, so each class has probability 0.001."""
    light = Path(onnx.__file__).parent / "backend/test/data/light/light_bvlc_alexnet.onnx"
    spec, source = importer.read_file(BVLC_ALEXNET, light)
    assert spec == build_spec(NetworkConfig("bvlc-alexnet"))
    assert sum(values.size for values in source.weights.values()) == 60_965_224
    importer.convert(BVLC_ALEXNET, spec, source, tmp_path / "served.onnx")
    probabilities, features = OnnxModel(tmp_path / "served.onnx", "cpu").run(
        np.zeros((1, 256, 256, 3), np.uint8), TEN_CROP
    )
    np.testing.assert_allclose(probabilities, 0.001, atol=1e-6)
    assert features.shape == (1, 4096)


def test_files_are_known_by_their_bytes(tmp_path: Path) -> None:
    published, file = write("bvlc opset 12", tmp_path)
    assert importer.identify_release(published, file) == published.releases[0]
    with pytest.raises(DownloadError, match="doesn't exist"):
        importer.identify_release(published, tmp_path / "none.onnx")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DownloadError, match=r"expected sha256 .*, got "):
        importer.identify_release(published, file)
    file.write_bytes(content[:-9])
    with pytest.raises(DownloadError, match=r"expected .* bytes, got"):
        importer.identify_release(published, file)


def test_nothing_is_half_published(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published, file = written("bvlc opset 12")
    monkeypatch.setattr("model.network.equivalence.TOLERANCE", -1.0)
    with pytest.raises(ExportError):
        importer.import_file(published, tmp_path / "artifacts", file, None, lambda _: None)
    assert list((tmp_path / "artifacts" / "bvlc-alexnet").iterdir()) == []


@pytest.mark.slow
def test_the_same_file_is_imported_once(written: Written, tmp_path: Path) -> None:
    published, file = written("bvlc opset 12")
    said: list[str] = []
    first = importer.import_file(published, tmp_path / "artifacts", file, published.releases[0], said.append)
    again = importer.pull(published, tmp_path / "artifacts", tmp_path / "data", "", said.append)
    assert first.path == again.path
    assert said[-1].startswith("already imported")
    unverified = importer.import_file(published, tmp_path / "others", file, None, said.append)
    assert unverified.manifest.measurements == []  # nobody knows whose weights these are
    assert unverified.manifest.license == importer.UNKNOWN_LICENSE
    assert unverified.manifest.training["dataset"] == "unknown"


def test_a_caffe_model_with_its_mean_image(written: Written, photographs: NDArray[np.uint8], tmp_path: Path) -> None:
    published, file = written("bvlc in Caffe")
    mean = np.random.default_rng(0).uniform(80, 150, (3, 256, 256)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(pretrained_files.binaryproto(mean))
    np.save(tmp_path / "mean.npy", mean)
    np.testing.assert_array_equal(read_mean(tmp_path / "mean.binaryproto"), mean[::-1].transpose(1, 2, 0))
    np.testing.assert_array_equal(read_mean(tmp_path / "mean.npy"), read_mean(tmp_path / "mean.binaryproto"))

    def pull(mean: Path | None) -> Artifact:
        return importer.import_file(published, tmp_path, file, None, lambda _: None, mean)

    plain, exact = pull(None), pull(tmp_path / "mean.npy")
    assert exact.path != plain.path  # the same weights with another mean are another network
    assert pull(tmp_path / "mean.npy").path == exact.path
    crops = [photographs[:, 14:241, 14:241, ::-1].astype(np.float32) - m for m in (
        mean[:, 14:241, 14:241].transpose(1, 2, 0), np.array(CHANNEL_MEANS[::-1], np.float32)
    )]  # fmt: skip
    for artifact, seen in zip((exact, plain), crops, strict=True):
        probabilities, _ = importer.read_file(published, file)[1].run(seen.transpose(0, 3, 1, 2))
        served = OnnxModel(artifact.network_path, "cpu").run(photographs, CENTER_CROP)[0]
        np.testing.assert_allclose(served, probabilities, atol=TOLERANCE)
    assert "crops of 227 x 227, B G R, minus the mean image mean.npy;" in exact.manifest.training["preprocessing"]
    assert "mean 122.679 116.669 104.007 (RGB of Caffe's mean image);" in plain.manifest.training["preprocessing"]
    assert "squeezed to 256 x 256" in plain.manifest.training["preprocessing"]


def test_a_mean_image_belongs_to_a_caffe_model(written: Written, tmp_path: Path) -> None:
    published, file = written("bvlc opset 12")
    with pytest.raises(ArtifactError, match=r"only \.caffemodel files take a mean image: leave out --mean"):
        importer.import_file(published, tmp_path, file, None, print, tmp_path / "mean.npy")
    with pytest.raises(ArtifactError, match="can't read the mean image"):
        importer.import_file(published, tmp_path, tmp_path / "net.caffemodel", published.releases[0], print,
                             tmp_path / "mean.npy")  # fmt: skip


def test_every_published_network_is_whole() -> None:
    """Names, URLs and checksums are well-formed, and no two files are the same."""
    releases = [release for published in PRETRAINED.values() for release in published.releases]
    assert len({release.sha256 for release in releases}) == len(releases) == 13
    for release in releases:
        assert len(bytes.fromhex(release.sha256)) == 32
        assert release.url.startswith("https://")
        assert release.url.endswith(f"/{release.name}")


def test_it_is_found_again_as_any_artifact(written: Written, tmp_path: Path) -> None:
    published, file = written("caffenet opset 12")
    artifact = importer.import_file(published, tmp_path / "artifacts", file, published.releases[0], lambda _: None)
    assert artifacts.load(tmp_path / "artifacts").network_sha256 == artifact.network_sha256
