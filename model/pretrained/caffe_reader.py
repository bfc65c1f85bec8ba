"""A `.caffemodel` of Caffe's AlexNet or CaffeNet, read and run by OpenCV 4 (the last that reads Caffe's format)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.exceptions import ArtifactError
from model.lrn.formula import BETA, SIZE
from model.network.spec import LRN, Activation, Conv, Layer, Linear, MaxPool, NetworkSpec
from model.pretrained.specs import Array, PretrainedFile
from model.requirements import install_extra

INPUT_SIZE: Final = 227
"""Pixels per side of a crop in Caffe: 55 x 55 positions of conv1 without padding."""
CHANNEL_MEANS = (122.679, 116.669, 104.007)
"""Mean RGB of the mean image that Caffe distributes with its ImageNet networks (`ilsvrc_2012_mean.npy`)."""


def read(path: Path, spec: NetworkSpec) -> PretrainedFile:
    """Read a file. Raises ArtifactError if OpenCV 4 is missing, or the file isn't this network's."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ArtifactError(f"OpenCV 4 is needed to read a Caffe model: {install_extra('caffe')}") from error
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise ArtifactError(f"OpenCV {cv2.__version__} doesn't read Caffe models: {install_extra('caffe')}")
    weights: dict[str, Array] = {}
    try:
        network = cv2.dnn.readNetFromCaffe(
            np.frombuffer(prototxt(spec).encode(), np.uint8), np.fromfile(path, np.uint8)
        )
        for layer in spec.weighted_layers:
            name, shape = layer.name, layer.weight_shape
            weight, bias = (np.asarray(network.getParam(name, number), np.float32) for number in (0, 1))
            if weight.shape != shape or bias.size != shape[0]:
                raise ArtifactError(f"expected weights of shape {shape} in {name} of {path.name}, got {weight.shape}")
            weights |= {f"{name}.weight": weight, f"{name}.bias": bias.ravel()}
    except cv2.error as error:
        raise ArtifactError(f"{path} isn't a complete Caffe model of {spec.config.name}: {error.err}") from error
    features = next(layer.name for layer in reversed(spec.layers) if isinstance(layer, Activation))

    def run(crops: Array) -> tuple[Array, Array]:
        results = []
        for crop in crops:
            network.setInput(crop[None])
            results.append([np.asarray(output, np.float32) for output in network.forward(["prob", features])])
        probabilities, hidden = (np.concatenate(outputs) for outputs in zip(*results, strict=True))
        return probabilities, hidden

    return PretrainedFile(weights, INPUT_SIZE, run, np.array(CHANNEL_MEANS, np.float32), "of Caffe's mean image")


def prototxt(spec: NetworkSpec) -> str:
    """The network in Caffe's format, which a `.caffemodel` needs beside it."""
    lines = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {INPUT_SIZE} input_dim: {INPUT_SIZE}']
    bottom = "data"
    for name, kind, parameters in [*_caffe_layers(spec.layers), ("prob", "Softmax", "")]:
        lines.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {parameters} }}')
        bottom = name
    return "\n".join(lines)


def _caffe_layers(layers: tuple[Layer, ...]) -> Iterator[tuple[str, str, str]]:
    """Name, type and parameters of each layer. Caffe flattens by itself, and its dropout does nothing at test time."""
    for layer in layers:
        if isinstance(layer, Conv):
            values = _values(
                num_output=layer.out_channels, kernel_size=layer.kernel_size, stride=layer.stride, pad=layer.padding[0]
            )
            yield layer.name, "Convolution", f"convolution_param {{ {values} group: {layer.groups} }}"
        elif isinstance(layer, Linear):
            yield layer.name, "InnerProduct", f"inner_product_param {{ {_values(num_output=layer.out_features)} }}"
        elif isinstance(layer, Activation):
            yield layer.name, "ReLU", ""
        elif isinstance(layer, LRN):
            values = _values(local_size=SIZE, alpha=SIZE * layer.alpha, beta=BETA, k=layer.k)
            yield layer.name, "LRN", f"lrn_param {{ {values} }}"
        elif isinstance(layer, MaxPool):
            values = _values(kernel_size=layer.kernel_size, stride=layer.stride)
            yield layer.name, "Pooling", f"pooling_param {{ pool: MAX {values} }}"


def _values(**values: Any) -> str:
    return " ".join(f"{name}: {value:g}" for name, value in values.items())
