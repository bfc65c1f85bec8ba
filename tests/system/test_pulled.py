"""A published network from download to fine-tuning: pull, classify, evaluate, export, train."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from google.protobuf import text_format
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file

from model.artifacts.artifact import Artifact
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.export import run_torch
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from model.network.torch_module import AlexNet
from model.pretrained import importer
from model.pretrained.specs import BVLC_ALEXNET
from model.runtime import OnnxModel
from tests.helpers import pretrained_files
from tests.helpers.commands import run_alexnet
from tests.helpers.drawings import CLASSES, draw, encode


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("mirror")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture(scope="module")
def pulled(mirror: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    address, folder = mirror
    onnx.save(pretrained_files.zoo(), str(folder / "net.onnx"))
    home = tmp_path_factory.mktemp("pulled")
    published = pretrained_files.small(BVLC_ALEXNET, folder / "net.onnx")
    return importer.pull(published, home / "artifacts", home / "data", address, lambda _: None)


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet's layout with six images."""
    root = tmp_path_factory.mktemp("imagenet") / "val"
    root.mkdir()
    generator = np.random.default_rng(2)
    for number in range(6):
        content = encode(draw(CLASSES[number % 3], generator))
        (root / f"ILSVRC2012_val_{number + 1:08d}.JPEG").write_bytes(content)
    return root


def images(root: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from model.images.preprocess import decode_image

    return np.stack([decode_image(path.read_bytes()).pixels for path in sorted(root.glob("*.JPEG"))])


def test_classify_prints_imagenet_names(pulled: Artifact, validation: Path) -> None:
    result = run_alexnet("classify", next(validation.glob("*.JPEG")), "--artifact", pulled.path, "--json")
    assert result.returncode == 0, result.stderr
    (classified,) = json.loads(result.stdout)["results"]
    assert (classified["familiarity"], classified["familiar"]) == (None, None)  # needs the publisher's images
    predictions = classified["predictions"]
    assert len(predictions) == 5
    assert all(entry["id"].startswith("n") and entry["name"] for entry in predictions)


@pytest.mark.slow
def test_errors_on_imagenet_s_validation_images(pulled: Artifact, validation: Path) -> None:
    """Every form of the class list gives the same errors, those of the network's own outputs."""
    model, pixels = OnnxModel(pulled.network_path, "cpu"), images(validation)
    order = np.argsort(-model.run(pixels, TEN_CROP)[0], axis=1)
    truth = [int(order[0, 0]), int(order[1, 0]), int(order[2, 3]), int(order[3, 4]), int(order[4, 7]), 999]
    expected = [np.mean([t not in row[:k] for t, row in zip(truth, order, strict=True)]) for k in (1, 5)]
    lines = [f"top-{k} error {100 * error:.2f} % (95 % interval" for k, error in zip((1, 5), expected, strict=True)]
    ids = [pulled.labels[number].id for number in truth]
    files = sorted(path.name for path in validation.glob("*.JPEG"))
    lists = {
        "LOC_val_solution.csv": "ImageId,PredictionString\n"
        + "".join(f"{name[:-5]},{synset} 1 2 3 4\n" for name, synset in zip(files, ids, strict=True)),
        "imagenet_2012_validation_synset_labels.txt": "\n".join(ids) + "\n",
        "val.txt": "".join(f"{name} {number}\n" for name, number in zip(files, truth, strict=True)),
    }
    for name, content in lists.items():
        (validation.parent / name).write_text(content)
        result = run_alexnet("evaluate", "--artifact", pulled.path, "--imagenet-val", validation)
        assert result.returncode == 0, result.stderr
        assert "6 images, 10 crops" in result.stdout
        assert all(line in result.stdout for line in lines), result.stdout
        (validation.parent / name).unlink()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("", "", "no list of classes in"),
        ("synset_labels.txt", "n01440764\n", "{file} doesn't list a class for each of the 6 images"),
        ("synset_labels.txt", "n00000000\n" * 6, "unknown synset 'n00000000'"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG 1\n", "{file} doesn't list a class for each of the 6 images"),
    ],
)
def test_class_file_that_does_not_fit(pulled: Artifact, validation: Path, name: str, content: str, error: str) -> None:
    if name:
        (validation / name).write_text(content)
    result = run_alexnet("evaluate", "--artifact", pulled.path, "--imagenet-val", validation)
    if name:
        (validation / name).unlink()
    assert (result.returncode, result.stderr.count("\n")) == (1, 2)
    assert result.stderr.startswith("error: " + error.format(file=validation / name))


def test_export_onnx(pulled: Artifact, validation: Path, tmp_path: Path) -> None:
    result = run_alexnet("export", "--artifact", pulled.path, "--output", tmp_path / "net.onnx")
    assert result.stdout == f"wrote {tmp_path / 'net.onnx'}\n"
    session = ort.InferenceSession(tmp_path / "net.onnx")
    assert len(json.loads(session.get_modelmeta().custom_metadata_map["labels"])) == 1000
    asked = {"images": images(validation), "crops": np.array(CENTER_CROP)}
    expected = OnnxModel(pulled.network_path, "cpu").run(asked["images"], CENTER_CROP)
    np.testing.assert_allclose(session.run(["probabilities"], asked)[0], expected[0], atol=1e-6)
    assert run_alexnet("export", "--artifact", pulled.path, "--output", tmp_path / "net.onnx").stderr.startswith(
        f"error: {tmp_path / 'net.onnx'} already exists"
    )


def test_export_safetensors(pulled: Artifact, validation: Path, tmp_path: Path) -> None:
    """A state dict with which the torch network gives the outputs that are served."""
    assert (
        run_alexnet(
            "export", "--artifact", pulled.path, "--output", tmp_path / "net.safetensors", "--format", "safetensors"
        ).returncode
        == 0
    )
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        header = file.metadata()
    state = load_file(tmp_path / "net.safetensors")
    mean = state.pop("mean").numpy()
    network = AlexNet(build_spec(TypeAdapter(NetworkConfig).validate_json(header["network"])))
    network.load_state_dict(state)
    expected = run_torch(network.eval(), mean, images(validation)[:2], TEN_CROP)
    outputs = OnnxModel(pulled.network_path, "cpu").run(images(validation)[:2], TEN_CROP)
    np.testing.assert_allclose(outputs[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(outputs[1], expected[1], atol=1e-4 * expected[1].max())
    assert len(json.loads(header["labels"])) == 1000


def triton_schema() -> ModuleType:
    """The schema of Triton's config.pbtxt, loaded from Triton's client without the client's other modules."""
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(next(iter(spec.submodule_search_locations))) / "grpc" / "model_config_pb2.py"
    module_spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def test_export_triton_model_repository(pulled: Artifact, validation: Path, tmp_path: Path) -> None:
    """Triton's own schema accepts the configuration, and the model has the inputs and outputs that it names."""
    assert (
        run_alexnet(
            "export", "--artifact", pulled.path, "--output", tmp_path / "models", "--format", "triton"
        ).returncode
        == 0
    )
    words, pixels = triton_schema(), images(validation)
    numpy_types = {"TYPE_UINT8": "tensor(uint8)", "TYPE_FP32": "tensor(float)"}
    for name, crops in (("bvlc-alexnet", TEN_CROP), ("bvlc-alexnet-center", CENTER_CROP)):
        folder = tmp_path / "models" / name
        config = text_format.Parse((folder / "config.pbtxt").read_text(), words.ModelConfig())
        assert (config.name, config.platform) == (name, "onnxruntime_onnx")
        assert config.max_batch_size > 1
        assert config.HasField("dynamic_batching")
        session = ort.InferenceSession(folder / "1" / "model.onnx")
        for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            listed = [(d.name, numpy_types[words.DataType.Name(d.data_type)], list(d.dims)) for d in declared]
            assert listed == [(r.name, r.type, list(r.shape[1:])) for r in real]
            assert not any(isinstance(r.shape[0], int) for r in real)  # the batch axis is dynamic
        assert len((folder / config.output[0].label_filename).read_text().splitlines()) == 1000
        outputs = session.run(None, {"images": pixels})
        expected = OnnxModel(pulled.network_path, "cpu").run(pixels, crops)
        np.testing.assert_allclose(outputs[0], expected[0], atol=1e-6)
        np.testing.assert_allclose(outputs[1], expected[1], atol=1e-5 * expected[1].max())


@pytest.mark.slow
def test_fine_tuning(pulled: Artifact, few: Path, tmp_path: Path) -> None:
    """All layers but the last are copied and learn slowly, and the last one is fitted to the new classes."""
    places = {place: tmp_path / place for place in ("artifacts", "cache", "runs")}
    options = [value for place, path in places.items() for value in (f"--{place}", path)]
    result = run_alexnet("train", "--data", few, "--init-from", pulled.path, "--epochs", 1, "--batch-size", 8, *options)
    assert result.returncode == 0, result.stderr
    assert re.search("initialized from bvlc-alexnet version 1, network [0-9a-f]{12}; fc8 fitted to its", result.stdout)
    manifest = json.loads((tmp_path / "artifacts" / "few" / "1" / "manifest.json").read_text())
    assert manifest["network"]["name"] == "bvlc-alexnet"
    weights = AlexNet(build_spec(TypeAdapter(NetworkConfig).validate_python(manifest["network"]))).state_dict()
    assert torch.Size(weights["fc8.weight"].shape) == (3, pretrained_files.HIDDEN)


def test_errors_are_one_line(mirror: tuple[str, Path], pulled: Artifact, tmp_path: Path) -> None:
    address, folder = mirror
    changed = folder / "caffenet-12.onnx"
    changed.write_text("<html>not here</html>")
    mistakes: list[tuple[list[object], str]] = [
        (["pull", "alexnet"], "invalid value for 'NAME': 'alexnet' is not one of 'bvlc-alexnet', 'caffenet'"),
        (
            ["pull", "caffenet", "--mirror", address],
            f"{address}/{changed.name} isn't the published file: expected 243,863,798",
        ),
        (["pull", "bvlc-alexnet", "--mirror", f"{address}/none"], "can't download"),
        (["pull", "bvlc-alexnet", "--from", changed], f"{changed} isn't the published"),
        (
            ["pull", "bvlc-alexnet", "--from", folder / "net.onnx", "--skip-checksum"],
            "net.onnx isn't bvlc-alexnet: expected fc6",
        ),
        (["pull", "bvlc-alexnet", "--from", folder / "none.onnx"], f"{folder / 'none.onnx'} doesn't exist"),
        (["evaluate", "--artifact", pulled.path], "give either --data or --imagenet-val"),
    ]
    for command, error in mistakes:
        result = run_alexnet(*command, folder=tmp_path)
        code = 2 if command == ["pull", "alexnet"] else 1  # a usage error, as in any shell
        assert (result.returncode, result.stderr.count("\n")) == (code, 2), result.stderr
        assert result.stderr.startswith(f"error: {error}"), result.stderr
    assert not list(tmp_path.rglob("*.onnx"))


def test_import_without_torch(tmp_path: Path) -> None:
    modules = ("model.pretrained.importer", "model.pretrained.onnx_reader", "model.artifacts.formats")
    code = f"import sys, model.network.onnx_graph, {', '.join(modules)}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == "False\n"
