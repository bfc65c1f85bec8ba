"""The weights of a published artifact, as the torch network holds them: where fine-tuning and figures start from."""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model.architecture import Architecture, linears
from model.artifact import Artifact, Manifest
from model.errors import ArtifactError


def architecture_of(manifest: Manifest) -> Architecture:
    """The architecture that a manifest names. Raises ArtifactError where it names none, or one of other code."""
    if not manifest.architecture:
        raise ArtifactError(f"expected an artifact that names its architecture, found none in {manifest.name}")
    try:
        return TypeAdapter(Architecture).validate_python(manifest.architecture)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ArtifactError(
            f"expected an architecture of this version in {manifest.name}, found a fault at "
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        ) from error


def read_weights(artifact: Artifact) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and the float32 weights and biases by name. Raises ArtifactError.

    The factors that the export folds into the weights (input scale, dropout at test) are taken out again.
    """
    architecture = architecture_of(artifact.manifest)
    factor = {"conv1.weight": architecture.input_scale}
    for name in list(linears(architecture))[1:]:
        factor[f"{name}.weight"] = 1 - architecture.dropout
    state = {}
    for constant in onnx.load(str(artifact.network)).graph.initializer:
        if constant.name.endswith((".weight", ".bias")):
            tensor = torch.from_numpy(numpy_helper.to_array(constant).copy())
            state[constant.name] = tensor / factor.get(constant.name, 1.0)
    return architecture, state
