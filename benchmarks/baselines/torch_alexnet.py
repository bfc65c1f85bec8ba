"""AlexNet written with PyTorch's own modules, its export to ONNX with PyTorch's defaults, and how to run both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from model.cpus import available_cpus
from model.images.crops import TEN_CROP, crop_coordinates
from model.network import onnx_builder
from model.network.temperature import TEMPERATURE

Array = NDArray[np.float32]
Forward = Callable[[Array], Array]
"""(10, 3, 224, 224) -> (10, classes) logits."""
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


class TowerResponseNorm(nn.LocalResponseNorm):
    """PyTorch's normalization, applied to each of the two towers separately."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2 * len(x), -1, *x.shape[2:])).reshape(x.shape)


class TorchAlexNet(nn.Module):
    """(N, 3, 224, 224) -> (N, classes) logits.

    `norm`: with nn.LocalResponseNorm itself, windows cross the border between the towers, and nothing is copied if the
    memory format is channels-last.
    """

    def __init__(
        self, classes: int = 1000, hidden: int = 4096, norm: type[nn.LocalResponseNorm] = TowerResponseNorm
    ) -> None:
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


def read_constants(network: Path) -> dict[str, Array]:
    """Weights and mean image of an artifact's network.onnx, by name."""
    return {
        name: numpy_helper.to_array(copies[0])
        for name, copies in onnx_builder.constants(onnx.load(str(network))).items()
    }


def load_torch_alexnet(network: Path) -> TorchAlexNet:
    """PyTorch's modules with the weights of an artifact's network.onnx, in evaluation mode.

    The temperature is folded into the weights of fc8, so that the probabilities are the same.
    """
    weights = read_constants(network)
    for name in ("fc8.weight", "fc8.bias"):
        weights[name] = weights[name] / weights[TEMPERATURE]
    classes, hidden = weights["fc8.weight"].shape
    module = TorchAlexNet(classes, hidden).eval()
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer, name in zip(layers, LAYERS, strict=True):
            layer.weight.copy_(torch.from_numpy(weights[f"{name}.weight"].copy()))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"].copy()))
    return module


def create_torch_forward(network: Path, is_compiled: bool = False) -> Forward:
    """PyTorch's modules, eager or with torch.compile."""
    module = load_torch_alexnet(network)
    forward = torch.compile(module) if is_compiled else module
    torch.set_num_threads(available_cpus())

    def run(crops: Array) -> Array:
        with torch.inference_mode():
            return forward(torch.from_numpy(crops)).numpy()  # type: ignore[no-any-return]

    return run


def create_onnxruntime_forward(network: Path) -> Forward:
    """onnxruntime with its defaults on the network that `torch.onnx.export` writes with its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "default.onnx"
        example = (torch.zeros(10, 3, 224, 224),)
        torch.onnx.export(load_torch_alexnet(network), example, str(file), external_data=False, verbose=False)
        session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda crops: session.run(None, {name: crops})[0]


class TenCrop:
    """(256, 256, 3) uint8 -> (10, 3, 224, 224) float32: ten crops minus an artifact's mean image."""

    def __init__(self, network: Path) -> None:
        self.mean = read_constants(network)["mean"].reshape(256, 256, 3)
        rows, columns = crop_coordinates()
        self.indices = [np.ix_(rows[crop], columns[crop]) for crop in TEN_CROP]

    def __call__(self, pixels: NDArray[np.uint8]) -> Array:
        centered = pixels - self.mean
        return np.ascontiguousarray(np.stack([centered[crop] for crop in self.indices]).transpose(0, 3, 1, 2))


def average_probabilities(logits: Array) -> Array:
    """(crops, classes) logits -> (classes,) mean of the softmax."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    mean: Array = (exponentials / exponentials.sum(1, keepdims=True)).mean(0)
    return mean
