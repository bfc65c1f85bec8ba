"""Read an artifact's weights, for fine-tuning, figures and exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from model.artifacts.artifact import NETWORK, Artifact, Manifest
from model.artifacts.kernels import KERNELS
from model.exceptions import ArtifactError
from model.graph_check import check_graph
from model.images.contract import IMAGE_SIZE
from model.network.onnx_builder import constants
from model.network.onnx_layers import Array
from model.network.registry import build_spec
from model.network.spec import NetworkSpec


def read_spec(manifest: Manifest) -> NetworkSpec:
    """The network that a manifest describes. Raises ArtifactError, NetworkConfigError."""
    if manifest.network is None:
        raise ArtifactError(f"the manifest of {manifest.name} doesn't describe its network: train or pull it again")
    return build_spec(manifest.network)


def read_weights(artifact: Artifact) -> tuple[NetworkSpec, dict[str, Array]]:
    """The network, and its float32 weights and biases by name as in a state dict. Raises ArtifactError.

    The constant factors that the export folds into the weights are taken out again.
    """
    spec = read_spec(artifact.manifest)
    weights, _ = read_folded_weights(artifact)
    factors = {f"{layer.name}.weight": np.float32(factor) for layer, factor in spec.constant_factors()}
    return spec, {name: value / factors.get(name, np.float32(1)) for name, value in weights.items()}


def read_folded_weights(artifact: Artifact) -> tuple[dict[str, Array], Array]:
    """The weights and biases by name as they are in network.onnx, and the mean image (256, 256, 3).

    Raises ArtifactError.
    """
    network = artifact.path / NETWORK
    check_graph(network)
    values = {name: numpy_helper.to_array(copies[0]) for name, copies in constants(onnx.load(str(network))).items()}
    weights = {name: value.copy() for name, value in values.items() if name.endswith((".weight", ".bias"))}
    return weights, values["mean"].reshape(IMAGE_SIZE, IMAGE_SIZE, 3)


def read_mean(artifact: Artifact) -> Array:
    """The mean image (256, 256, 3) float32 that the network subtracts."""
    return read_folded_weights(artifact)[1].copy()


def write_kernels(folder: Path) -> None:
    """Write kernels.npy beside network.onnx: conv1's kernels, as `read_kernels` returns them."""
    weight = numpy_helper.to_array(constants(onnx.load(str(folder / NETWORK)))["conv1.weight"][0])
    np.save(folder / KERNELS, np.ascontiguousarray(weight.transpose(0, 2, 3, 1), np.float32))
