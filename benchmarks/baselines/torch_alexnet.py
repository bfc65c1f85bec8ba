"""The same network as anybody would write it with PyTorch's modules, and its export as PyTorch does it by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from model.images.crops import TEN_CROP, crop_coordinates
from model.network import onnx_builder

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


class TowerNorm(nn.LocalResponseNorm):
    """PyTorch's module, over the channels of each tower by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2 * len(x), -1, *x.shape[2:])).reshape(x.shape)


class Stock(nn.Module):
    """Weights in their default layout. (N, 3, 224, 224) -> (N, classes) logits.

    `norm`: nn.LocalResponseNorm goes over both towers, and copies nothing where maps are channels-last.
    """

    def __init__(self, classes: int = 1000, hidden: int = 4096, norm: type[nn.LocalResponseNorm] = TowerNorm) -> None:
        super().__init__()
        norms = [norm(5, 5e-4, 0.75, 2.0) for _ in range(2)]
        self.convolutions = nn.Sequential(
            nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU(inplace=True), norms[0], nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), norms[1], nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(9216, hidden), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.convolutions(x).flatten(1))
        return logits


def constants(network: Path) -> dict[str, NDArray[np.float32]]:
    """The weights and the mean of an artifact's network.onnx, by name."""
    return {
        name: numpy_helper.to_array(copies[0])
        for name, copies in onnx_builder.constants(onnx.load(str(network))).items()
    }


def stock(network: Path) -> Stock:
    """PyTorch's modules with the weights of an artifact's network.onnx."""
    weights = constants(network)
    classes, hidden = weights["fc8.weight"].shape
    module = Stock(classes, hidden).eval()
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer, name in zip(layers, (*CONVOLUTIONS, "fc6", "fc7", "fc8"), strict=True):
            layer.weight.copy_(torch.from_numpy(weights[f"{name}.weight"].copy()))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"].copy()))
    return module


def export_by_default(module: Stock, target: Path) -> None:
    """`torch.onnx.export` with its defaults, for the ten crops of an image."""
    torch.onnx.export(module, (torch.zeros(10, 3, 224, 224),), str(target), external_data=False, verbose=False)


class TenCrops:
    """(256, 256, 3) uint8 -> (10, 3, 224, 224) float32: the crops, mean subtracted, as a program without our graph."""

    def __init__(self, network: Path) -> None:
        self.mean = constants(network)["mean"].reshape(256, 256, 3)
        rows, columns = crop_coordinates()
        self.places = [np.ix_(rows[crop], columns[crop]) for crop in TEN_CROP]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        centered = pixels - self.mean
        return np.ascontiguousarray(np.stack([centered[place] for place in self.places]).transpose(0, 3, 1, 2))
