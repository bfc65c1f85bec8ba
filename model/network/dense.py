"""The dense network: one pass over the whole 256 x 256 picture, and one over its mirror image, instead of ten crops.

    the picture (and its mirror image)     (N * P, 3, 256, 256)
    conv1 to conv5 and their poolings      (N * P, 256, 7, 7): four windows of 6 x 6, at the offsets 0 and 32 pixels
    fc6 to fc8 at each window              (N * P * 4, classes), whose softmax is averaged

A window sees what a corner view sees, but where that has zeros at the crop's border, the picture goes on: the answer is
near the mean over the eight corner views, not equal to it, for about a quarter of the work of ten.
"""

from __future__ import annotations

import onnx

from model.images.preprocess import SIDE
from model.network.onnx_builder import Nodes
from model.network.onnx_graph import finished, with_mirror_images
from model.network.onnx_layers import Array, Layers
from model.network.spec import BORDERS

WINDOWS = ((0, 0), (0, 1), (1, 0), (1, 1))
MAPS = 6
"""Positions a side that fc6 sees."""
FIRST_MIRRORED = 5
"""The first of the views that are mirror images."""


def dense(layers: Layers, mean: Array) -> onnx.ModelProto:
    """The graph, with the inputs and outputs of `model.network.onnx_graph`. `views`: the mirror image is looked at
    where any view of it is asked for; which of the views makes no other difference."""
    nodes, architecture = Nodes(), layers.architecture
    x = _sides(nodes, mean)  # (N * P, 3, 256, 256)
    x = layers.convolution(nodes, x, "conv1", list(BORDERS[architecture.border]))  # (., 96, 31, 31)
    x = layers.convolution(nodes, x, "conv2", [2] * 4)  # (., 256, 15, 15)
    for name in ("conv3", "conv4", "conv5", "conv6"):  # (., 384, 15, 15) twice, (., 256, 7, 7)
        x = layers.convolution(nodes, x, name, [1] * 4)
    windows = []
    for number, (row, column) in enumerate(WINDOWS):
        window = nodes.cut(x, f"window{number}", (row, row + MAPS), (column, column + MAPS))
        windows.append(nodes.add("Unsqueeze", window, nodes.numbers(1), name=f"window{number}_of_four"))
    x = nodes.add("Concat", *windows, name="windows", axis=1)  # (N * P, 4, 256, 6, 6)
    inputs = layers.weights["fc6.weight"].shape[1]
    x = nodes.add("Reshape", x, nodes.numbers(-1, inputs), name="flat_maps")  # (N * P * 4, 9216)
    answers = dict(zip(("probabilities", "features"), layers.classifier(nodes, x), strict=True))
    count = nodes.add("Shape", "pictures", name="picture_count", start=0, end=1)
    for (name, source), width in zip(answers.items(), (architecture.classes, architecture.hidden), strict=True):
        shape = nodes.add("Concat", count, nodes.numbers(-1, width), name=f"{name}_shape", axis=0)
        grouped = nodes.add("Reshape", source, shape, name=f"{name}_by_window")  # (N, P * 4, width)
        nodes.add("ReduceMean", grouped, name=name, axes=[1], keepdims=0)
    return finished(nodes, architecture)


def _sides(nodes: Nodes, mean: Array) -> str:
    """The pictures, mean subtracted, and their mirror images where a mirrored view is asked for."""
    both = with_mirror_images(nodes, mean)  # (2N, 3, 256, 256)
    pairs = nodes.add("Reshape", both, nodes.numbers(-1, 2, 3, SIDE, SIDE), name="sides_of_each")
    last = nodes.add("ReduceMax", "views", name="last_view", axes=[0], keepdims=1)
    end = nodes.add("Div", last, nodes.numbers(FIRST_MIRRORED), name="any_mirrored")  # 0 or 1
    end = nodes.add("Add", end, nodes.numbers(1), name="sides")
    asked = nodes.add("Slice", pairs, nodes.numbers(0), end, nodes.numbers(1), name="asked_sides")
    return nodes.add("Reshape", asked, nodes.numbers(-1, 3, SIDE, SIDE), name="sides_in_a_row")
