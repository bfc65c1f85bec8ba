"""A `.caffemodel` of Caffe's AlexNet or CaffeNet, read and run by OpenCV 4 (the last that reads Caffe's format)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.exceptions import ArtifactError
from model.lrn.formula import BETA, NORMS, SIZE
from model.network.spec import NORMALIZED, POOLED, Architecture, convolutions, linears
from model.pretrained.specs import Array, Source

CROP_SIZE = 227
"""Pixels a side of a crop in Caffe: 55 x 55 positions of conv1 without a border."""


def read(path: Path, architecture: Architecture) -> Source:
    """Raises ArtifactError where OpenCV 4 is missing, or the file isn't one of this architecture."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ArtifactError(
            "expected OpenCV 4 to read a Caffe model, found none: pip install 'opencv-python-headless<5'"
        ) from error
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise ArtifactError(f"expected OpenCV 4 to read a Caffe model, found {cv2.__version__}, which can't")
    weights: dict[str, Array] = {}
    try:
        network = cv2.dnn.readNetFromCaffe(
            np.frombuffer(prototxt(architecture).encode(), np.uint8), np.fromfile(path, np.uint8)
        )
        for layer, shape in _shapes(architecture).items():
            weight, bias = (np.asarray(network.getParam(layer, number), np.float32) for number in (0, 1))
            if weight.shape != shape or bias.size != shape[0]:
                raise ArtifactError(f"expected {layer} of {shape} in {path.name}, found {weight.shape}")
            weights |= {f"{layer}.weight": weight, f"{layer}.bias": bias.ravel()}
    except cv2.error as error:
        raise ArtifactError(f"expected a whole Caffe model of this network at {path}, found: {error.err}") from error

    def answer(crops: Array) -> tuple[Array, Array]:
        answers = []
        for crop in crops:
            network.setInput(crop[None])
            answers.append([np.asarray(found, np.float32) for found in network.forward(["prob", "relu_fc7"])])
        probabilities, features = (np.concatenate(found) for found in zip(*answers, strict=True))
        return probabilities, features

    return Source(weights, CROP_SIZE, answer)


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in convolutions(architecture):
        groups = 1 if layer.joined else architecture.towers
        shapes[layer.name] = (layer.outputs, layer.inputs // groups, layer.kernel, layer.kernel)
    return shapes | {name: (outputs, inputs) for name, (inputs, outputs) in linears(architecture).items()}


def prototxt(architecture: Architecture) -> str:
    """The network in Caffe's words, which a `.caffemodel` needs beside it."""
    lines = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {CROP_SIZE} input_dim: {CROP_SIZE}']
    below = "data"
    for name, kind, facts in _layers(architecture):
        above = below if kind == "ReLU" else name
        lines.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{below}" top: "{above}" {facts} }}')
        below = above
    return "\n".join(lines)


def _layers(architecture: Architecture) -> Iterator[tuple[str, str, str]]:
    norm = NORMS[architecture.normalization]
    for layer in convolutions(architecture):
        groups = 1 if layer.joined else architecture.towers
        facts = _facts(num_output=layer.outputs, kernel_size=layer.kernel, stride=layer.stride, pad=layer.padding)
        yield layer.name, "Convolution", f"convolution_param {{ {facts} group: {groups} }}"
        yield f"relu_{layer.name}", "ReLU", ""
        number, after = layer.name[-1], []
        if layer.name in NORMALIZED:
            facts = _facts(local_size=SIZE, alpha=SIZE * norm.alpha, beta=BETA, k=norm.k)
            after.append((f"norm{number}", "LRN", f"lrn_param {{ {facts} }}"))
        if layer.name in POOLED:
            pool = f"pooling_param {{ pool: MAX {_facts(kernel_size=architecture.pool, stride=2)} }}"
            after.insert(0 if architecture.pool_first else len(after), (f"pool{number}", "Pooling", pool))
        yield from after
    for name, (_, outputs) in linears(architecture).items():
        yield name, "InnerProduct", f"inner_product_param {{ {_facts(num_output=outputs)} }}"
        if name != "fc8":
            yield f"relu_{name}", "ReLU", ""
    yield "prob", "Softmax", ""


def _facts(**values: Any) -> str:
    return " ".join(f"{name}: {value:g}" for name, value in values.items())
