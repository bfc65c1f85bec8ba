"""Export of a torch network to ONNX, with a check of their numerical equivalence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from model.exceptions import ExportError
from model.images.crops import CENTER_CROP, TEN_CROP, crop_coordinates
from model.network.equivalence import check_equivalence
from model.network.onnx_graph import build_graph
from model.network.onnx_layers import fold_constants
from model.network.temperature import read_temperature
from model.network.torch_module import AlexNet

CASES = ((1, CENTER_CROP), (3, (7, 2)), (2, TEN_CROP))
"""Numbers of images, and their crops, for the comparison."""


def export(network: AlexNet, mean: NDArray[np.float32], path: Path) -> float:
    """Write the served graph to `path` and return the largest difference of a probability from torch.

    `mean` (256, 256, 3) float32. Raises ExportError, leaving no file, when torch and onnxruntime differ.
    """
    weights = {name: value.detach().float().cpu().numpy() for name, value in network.state_dict().items()}
    onnx.save(build_graph(network.spec, fold_constants(network.spec, weights), mean), str(path))
    try:
        return check_export(network, mean, path)
    except ExportError:
        path.unlink()
        raise


def check_export(network: AlexNet, mean: NDArray[np.float32], path: Path) -> float:
    """Compare torch with the ONNX file, at its temperature. Returns the largest difference of a probability.

    Raises ExportError.
    """
    temperature = read_temperature(path)
    return check_equivalence(path, lambda images, crops: run_torch(network, mean, images, crops, temperature), CASES)


def run_torch(
    network: AlexNet,
    mean: NDArray[np.float32],
    images: NDArray[np.uint8],
    crops: tuple[int, ...],
    temperature: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the graph computes, in torch: probabilities (N, num_classes) and features (N, hidden)."""
    config = network.spec.config
    rows, columns = crop_coordinates(config.input_size)
    device = next(network.parameters()).device
    pixels = torch.from_numpy(images.astype(np.float32)).to(device).permute(0, 3, 1, 2)  # (N, 3, 256, 256)
    means = torch.from_numpy(mean).to(device).permute(2, 0, 1)[None]
    outputs = []
    with torch.no_grad():
        for crop_id in crops:
            mean_id = CENTER_CROP[0] if config.mean == "center" else crop_id
            crop = pixels[:, :, rows[crop_id]][:, :, :, columns[crop_id]]
            outputs.append(network(crop - means[:, :, rows[mean_id]][:, :, :, columns[mean_id]]))
    probabilities = torch.stack([(output.logits / temperature).softmax(1) for output in outputs]).mean(0)
    features = torch.stack([output.features for output in outputs]).mean(0)
    return probabilities.cpu().numpy(), features.cpu().numpy()
