"""An artifact's network for other programs: one ONNX file, safetensors, or a model repository of Triton's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_folded_weights, read_weights
from model.exceptions import ArtifactError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import IMAGE_SIZE

Format = Literal["onnx", "safetensors", "triton"]
MAX_BATCH_SIZE = 16
"""Images; 160 crops of ten."""


def write(artifact: Artifact, target: Path, form: Format) -> Path:
    """Write `target`, whole or not at all. Raises ArtifactError where something is there already."""
    if target.exists():
        raise ArtifactError(f"expected nothing at {target}, found something: name another place")
    target.parent.mkdir(parents=True, exist_ok=True)
    make: dict[str, Callable[[Artifact, Path], None]] = {
        "onnx": _onnx,
        "safetensors": _safetensors,
        "triton": _triton,
    }
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as folder:
        new = Path(folder) / target.name
        make[form](artifact, new)
        new.rename(target)
    return target


def _onnx(artifact: Artifact, target: Path) -> None:
    """The served graph, with classes, license and the rest of the manifest among its properties."""
    model = onnx.load(str(artifact.network))
    facts = {"labels": json.dumps([label.model_dump() for label in artifact.labels])}
    facts |= {"manifest": artifact.manifest.model_dump_json(), "license": artifact.manifest.license}
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=value)
    onnx.save(model, str(target))


def _safetensors(artifact: Artifact, target: Path) -> None:
    """The state dict of `model.network.torch_module.AlexNet` in float32, and `mean`, the (256, 256, 3) image to
    subtract first; the architecture and the classes are in the header."""
    architecture, weights = read_weights(artifact)
    _, mean = read_folded_weights(artifact)
    tensors = {name: np.ascontiguousarray(values) for name, values in weights.items()} | {"mean": mean.copy()}
    header = {"architecture": json.dumps(asdict(architecture)), "license": artifact.manifest.license}
    header |= {"labels": json.dumps([label.model_dump() for label in artifact.labels])}
    save_file(tensors, target, metadata=header)


def _triton(artifact: Artifact, target: Path) -> None:
    """NAME takes images and looks at ten crops, NAME-center at the center, as an index's features do."""
    for name, crops in ((artifact.manifest.name, TEN_CROP), (f"{artifact.manifest.name}-center", CENTER_CROP)):
        folder = target / name
        (folder / "1").mkdir(parents=True)
        onnx.save(_with_crops(onnx.load(str(artifact.network)), crops), str(folder / "1" / "model.onnx"))
        (folder / "config.pbtxt").write_text(_config(artifact, name))
        (folder / "labels.txt").write_text("".join(f"{label.name}\n" for label in artifact.labels))
    shutil.copy(artifact.path / "manifest.json", target / artifact.manifest.name)


def _with_crops(model: onnx.ModelProto, crops: tuple[int, ...]) -> onnx.ModelProto:
    """The input `crops` becomes a constant: Triton batches only models whose inputs all have the batch's axis."""
    (entry,) = [value for value in model.graph.input if value.name == "crops"]
    model.graph.input.remove(entry)
    model.graph.initializer.append(numpy_helper.from_array(np.array(crops, np.int64), "crops"))
    onnx.checker.check_model(model)
    return model


def _config(artifact: Artifact, name: str) -> str:
    manifest = artifact.manifest
    return f"""name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {MAX_BATCH_SIZE}
input [
  {{ name: "images" data_type: TYPE_UINT8 dims: [ {IMAGE_SIZE}, {IMAGE_SIZE}, 3 ] }}
]
output [
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {manifest.classes} ] label_filename: "labels.txt" }},
  {{ name: "features" data_type: TYPE_FP32 dims: [ {manifest.feature_dim} ] }}
]
dynamic_batching {{ }}
"""
