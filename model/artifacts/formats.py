"""Export of an artifact's network for other programs: an ONNX file, safetensors, or a Triton model repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

from model.artifacts.artifact import MANIFEST, NETWORK, Artifact
from model.artifacts.unpublished import unpublished_folder
from model.artifacts.weights import read_mean, read_weights
from model.exceptions import ArtifactError
from model.graph_check import check_graph
from model.images.contract import IMAGE_SIZE
from model.images.crops import CENTER_CROP, TEN_CROP
from model.network.temperature import read_temperature

Format = Literal["onnx", "safetensors", "triton"]
MAX_BATCH_SIZE = 16
"""Images per batch in Triton; 160 crops with ten-crop."""


def export_artifact(artifact: Artifact, target: Path, file_format: Format) -> Path:
    """Write `target` atomically. Raises ArtifactError if it exists already, can't be written, or if the network keeps
    weights in another file."""
    if target.exists():
        raise ArtifactError(f"{target} already exists: choose another output")
    check_graph(artifact.network_path)
    writers: dict[Format, Callable[[Artifact, Path], None]] = {
        "onnx": _write_onnx,
        "safetensors": _write_safetensors,
        "triton": _write_triton,
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unpublished_folder(target.parent) as folder:
            partial = folder / target.name
            writers[file_format](artifact, partial)
            partial.rename(target)
    except OSError as error:
        raise ArtifactError(f"can't write {target}: {error.strerror or error}") from error
    return target


def _write_onnx(artifact: Artifact, target: Path) -> None:
    """Write the served graph, with labels, license and manifest in its metadata."""
    model = onnx.load(str(artifact.network_path))
    metadata = {
        "labels": json.dumps([label.model_dump() for label in artifact.labels]),
        "manifest": artifact.manifest.model_dump_json(),
        "license": artifact.manifest.license,
    }
    for name, value in metadata.items():
        model.metadata_props.add(key=name, value=value)
    onnx.save(model, str(target))


def _write_safetensors(artifact: Artifact, target: Path) -> None:
    """Write the state dict of `model.network.torch_module.AlexNet` in float32, and `mean`, the (256, 256, 3) image to
    subtract first. The network's options, temperature, labels and license are in the header."""
    spec, weights = read_weights(artifact)
    tensors = {name: np.ascontiguousarray(values) for name, values in weights.items()} | {"mean": read_mean(artifact)}
    header = {
        "network": json.dumps(asdict(spec.config)),
        "temperature": str(read_temperature(artifact.path / NETWORK)),
        "labels": json.dumps([label.model_dump() for label in artifact.labels]),
        "license": artifact.manifest.license,
    }
    save_file(tensors, target, metadata=header)


def _write_triton(artifact: Artifact, target: Path) -> None:
    """Write two models: NAME uses ten crops, NAME-center the center crop, as the features of an index do."""
    for name, crops in ((artifact.manifest.name, TEN_CROP), (f"{artifact.manifest.name}-center", CENTER_CROP)):
        folder = target / name
        (folder / "1").mkdir(parents=True)
        onnx.save(_with_fixed_crops(onnx.load(str(artifact.network_path)), crops), str(folder / "1" / "model.onnx"))
        (folder / "config.pbtxt").write_text(_triton_config(artifact, name), "utf-8")
        (folder / "labels.txt").write_text("".join(f"{label.name}\n" for label in artifact.labels), "utf-8")
    shutil.copy(artifact.path / MANIFEST, target / artifact.manifest.name)


def _with_fixed_crops(model: onnx.ModelProto, crops: tuple[int, ...]) -> onnx.ModelProto:
    """Make the input `crops` a constant: Triton only batches models whose inputs all have the batch axis."""
    (entry,) = [value for value in model.graph.input if value.name == "crops"]
    model.graph.input.remove(entry)
    model.graph.initializer.append(numpy_helper.from_array(np.array(crops, np.int64), "crops"))
    onnx.checker.check_model(model)
    return model


def _triton_config(artifact: Artifact, name: str) -> str:
    manifest = artifact.manifest
    return f"""name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {MAX_BATCH_SIZE}
input [
  {{ name: "images" data_type: TYPE_UINT8 dims: [ {IMAGE_SIZE}, {IMAGE_SIZE}, 3 ] }}
]
output [
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {manifest.num_classes} ] label_filename: "labels.txt" }},
  {{ name: "features" data_type: TYPE_FP32 dims: [ {manifest.feature_dim} ] }}
]
dynamic_batching {{ }}
"""
