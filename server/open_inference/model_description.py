"""The served model in the Open Inference Protocol: metadata, Triton's model configuration and settings."""

from __future__ import annotations

from typing import Any

from model.images.contract import IMAGE_SIZE
from server.loaded_model import LoadedModel
from server.open_inference.infer_request import RequestedModel

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""Triton's extensions that this server supports; repository, trace and logging are read-only."""
ALTERNATIVE_INPUT = f"pixels UINT8 [-1,{IMAGE_SIZE},{IMAGE_SIZE},3]"
TRACE_SETTINGS: dict[str, str | list[str]] = {
    "trace_level": ["OFF"],
    "trace_rate": "0",
    "trace_count": "0",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "opentelemetry",
}
"""No traces are written to files; OpenTelemetry's own variables control which traces are sent."""
LOG_SETTINGS: dict[str, str | bool | int] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def requested_model(loaded: LoadedModel) -> RequestedModel:
    """Name, version and outputs of the served model."""
    manifest = loaded.artifact.manifest
    return RequestedModel(manifest.name, str(manifest.version), tuple(_output_shapes(loaded)))


def model_metadata(loaded: LoadedModel) -> dict[str, Any]:
    """The model's inputs and outputs; -1 is the number of images."""
    manifest, model = loaded.artifact.manifest, loaded.model
    return {
        "name": manifest.name,
        "versions": [str(manifest.version)],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": shape} for name, shape in _output_shapes(loaded).items()
        ],
        "parameters": {"device": model.device, "alternative_input": ALTERNATIVE_INPUT},
    }


def model_config(loaded: LoadedModel) -> dict[str, Any]:
    """Triton's model configuration. `max_batch_size` 0: the number of images is a dimension like any other."""
    manifest, model = loaded.artifact.manifest, loaded.model
    return {
        "name": manifest.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [manifest.version]}},
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_STRING", "format": "FORMAT_NONE", "dims": [-1]}],
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": shape} for name, shape in _output_shapes(loaded).items()
        ],
        "instance_group": [
            {
                "name": manifest.name,
                "kind": "KIND_GPU" if model.device == "cuda" else "KIND_CPU",
                "count": 1,
                "gpus": [0] if model.device == "cuda" else [],
            }
        ],
        "default_model_filename": loaded.artifact.network_path.name,
        "parameters": {"alternative_input": {"string_value": ALTERNATIVE_INPUT}},
    }


def _output_shapes(loaded: LoadedModel) -> dict[str, list[int]]:
    """The shape of each output, by its name; -1 is the number of images."""
    return {"probabilities": [-1, loaded.model.num_classes], "features": [-1, loaded.model.feature_dim]}
