"""torch -> ONNX, and the proof that both say the same on images that neither has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from model.exceptions import ExportError
from model.images.crops import CENTER_CROP, TEN_CROP, crop_coordinates
from model.network.onnx_graph import build
from model.network.onnx_layers import Layers, folded
from model.network.torch_module import AlexNet
from model.runtime import OnnxModel

PROBABILITY_TOLERANCE = 1e-4
"""Largest difference of a probability. The two runtimes add up to 9,216 float32 products in another order, which moves
a logit by some 1e-6 of its size; measured differences stay below 1e-5, real mistakes (a swapped channel, a wrong mean,
a crop off by a pixel) above 1e-3."""

FEATURE_TOLERANCE = 1e-4
"""Largest difference of a feature, relative to the largest feature of the batch; for the same reason."""


def export(network: AlexNet, mean: NDArray[np.float32], path: Path) -> float:
    """Write the served graph to `path` and return the largest difference of a probability from torch.

    `mean` (256, 256, 3) float32. Raises ExportError, leaving no file, when torch and onnxruntime differ.
    """
    weights = {name: value.detach().float().cpu().numpy() for name, value in network.state_dict().items()}
    onnx.save(build(Layers(network.architecture, folded(network.architecture, weights)), mean), str(path))
    try:
        return prove_equal(network, mean, path)
    except ExportError:
        path.unlink()
        raise


def prove_equal(network: AlexNet, mean: NDArray[np.float32], path: Path) -> float:
    """Compare torch and the ONNX file on random images, on several batch sizes and choices of crops."""
    model = OnnxModel(path, device="cpu")
    generator = np.random.default_rng()  # unseeded: other images at each export
    worst = 0.0
    for count, crops in ((1, CENTER_CROP), (3, (7, 2)), (2, TEN_CROP)):
        images = _random_images(generator, count)
        expected_probabilities, expected_features = run_torch(network, mean, images, crops)
        probabilities, features = model.run(images, crops)
        difference = float(np.abs(probabilities - expected_probabilities).max())
        deviation = float(np.abs(features - expected_features).max() / max(expected_features.max(), 1e-6))
        if not (difference <= PROBABILITY_TOLERANCE and deviation <= FEATURE_TOLERANCE):
            raise ExportError(
                f"expected the ONNX graph to equal the torch network to {PROBABILITY_TOLERANCE:g}, found differences "
                f"of {difference:g} in the probabilities and {deviation:g} in the features "
                f"({count} images, crops {crops})"
            )
        worst = max(worst, difference)
    return worst


def run_torch(
    network: AlexNet, mean: NDArray[np.float32], images: NDArray[np.uint8], crops: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the graph must say, computed by torch: probabilities (N, classes) and features (N, hidden)."""
    rows, columns = crop_coordinates(network.architecture.side)
    device = next(network.parameters()).device
    pixels = torch.from_numpy(images.astype(np.float32)).to(device).permute(0, 3, 1, 2)  # (N, 3, 256, 256)
    means = torch.from_numpy(mean).to(device).permute(2, 0, 1)[None]
    answers = []
    with torch.no_grad():
        for crop_id in crops:
            window = CENTER_CROP[0] if network.architecture.mean == "center" else crop_id
            crop = (
                pixels[:, :, rows[crop_id]][:, :, :, columns[crop_id]]
                - means[:, :, rows[window]][:, :, :, columns[window]]
            )
            answers.append(network(crop))
    probabilities = torch.stack([answer.logits.softmax(1) for answer in answers]).mean(0)
    features = torch.stack([answer.features for answer in answers]).mean(0)
    return probabilities.cpu().numpy(), features.cpu().numpy()


def _random_images(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Blocks of color with noise on them: (count, 256, 256, 3)."""
    blocks = generator.integers(0, 256, (count, 8, 8, 3)).repeat(32, 1).repeat(32, 2)
    noise = generator.normal(0, 30, blocks.shape)
    return (blocks + noise).clip(0, 255).astype(np.uint8)
