"""The weights of an artifact, as the torch network holds them: where fine-tuning, figures and exports start from."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from pydantic import TypeAdapter, ValidationError

from model.artifacts.artifact import NETWORK, Artifact, Manifest
from model.exceptions import ArtifactError
from model.images.preprocess import IMAGE_SIZE
from model.network.onnx_builder import constants
from model.network.onnx_layers import Array, folded
from model.network.spec import Architecture


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


def read_weights(artifact: Artifact) -> tuple[Architecture, dict[str, Array]]:
    """The architecture and the float32 weights and biases by name. Raises ArtifactError.

    The factors that the export folds into the weights (input scale, dropout at test) are taken out again.
    """
    architecture = architecture_of(artifact.manifest)
    kept, _ = read_folded_weights(artifact)
    factors = folded(architecture, {name: np.ones(1, np.float32) for name in kept})
    return architecture, {name: value / factors[name] for name, value in kept.items()}


def read_folded_weights(artifact: Artifact) -> tuple[dict[str, Array], Array]:
    """The weights and biases by name, as they stand in network.onnx, and the mean image (256, 256, 3)."""
    found = {
        name: numpy_helper.to_array(copies[0])
        for name, copies in constants(onnx.load(str(artifact.path / NETWORK))).items()
    }
    kept = {name: value.copy() for name, value in found.items() if name.endswith((".weight", ".bias"))}
    return kept, found["mean"].reshape(IMAGE_SIZE, IMAGE_SIZE, 3)
