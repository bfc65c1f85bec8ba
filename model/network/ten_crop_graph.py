"""What ten crops have in common, computed once: everything up to the second pooling.

The crops' offsets (0, 16, 32) are multiples of the strides up to there (4, 8 and 16 pixels), so a crop's maps are cut
from the maps of the whole image, but for a border: where a window reaches over the crop's edge, the whole image has
pixels and the crop has zeros. Those positions lie in bands of a few rows or columns, which are computed by themselves.
Crops 5 to 9 are crops of the mirrored image at the same offsets.

    the image and its mirror image               (2N, 3, 256, 256)
    conv1, norm, pool1: the whole                  (2N, 96, 31, 31), of which a crop shows 27 x 27
        its last row and column, by bands          where the crop ends before the image: offsets 0 and 16
    five crops                                     (10N, 96, 27, 27)
    conv2, norm, pool2: the whole                  (2N, 256, 15, 15), of which a crop shows 13 x 13
        its first row and column                   offsets 16 and 32
        its last two rows and columns              offsets 0 and 16
    five crops                                     (10N, 256, 13, 13), image by image

The border is exact, not approximated: the answer differs from separate crops only by the order of float32 sums.
"""

from __future__ import annotations

from model.images.crops import CROP_SIZE, MARGIN, OFFSETS
from model.network.onnx_builder import Nodes
from model.network.onnx_layers import Layers

LAST = 19 - 3
"""Pixels of a crop, and 3 zeros, that the last position of pool1 sees: 3 windows of 11 at stride 4."""


def shared(nodes: Nodes, layers: Layers, centered: str) -> str:
    """(2N, 3, 256, 256): each image, mean subtracted, and its mirror image -> (10N, 256, 13, 13), image by
    image."""
    whole, crops = _five_of_pool1(nodes, layers, centered)
    five = _five_of_pool2(nodes, layers, whole, crops)  # (2N, 5, 256, 13, 13)
    channels = len(layers.weights["conv2.weight"])
    return nodes.add("Reshape", five, nodes.numbers(-1, channels, 13, 13), name="crop_maps")


def _five_of_pool1(nodes: Nodes, layers: Layers, centered: str) -> tuple[str, list[str]]:
    """pool1 of the whole (2N, 96, 31, 31), and of the five crops (2N, 96, 27, 27)."""
    whole = layers.convolution(nodes, centered, "conv1", [0, 0, 3, 3], "whole")
    ends = {offset: (offset + CROP_SIZE - LAST, offset + CROP_SIZE) for offset in (0, MARGIN // 2)}
    rows, columns = {}, {}
    for offset, end in ends.items():
        row = nodes.cut(centered, f"row{offset}", end, (0, 0))
        rows[offset] = layers.convolution(nodes, row, "conv1", [0, 0, 3, 3], f"row{offset}")  # (2N, 96, 1, 31)
        column = nodes.cut(centered, f"column{offset}", (0, 0), end)
        columns[offset] = layers.convolution(nodes, column, "conv1", [0, 0, 3, 3], f"column{offset}")  # (2N, 96, 31, 1)
    crops = []
    for number, (top, left) in enumerate(OFFSETS):
        name, a, b = f"crop{number}", top // 8, left // 8
        height, width = (26 if offset < MARGIN else 27 for offset in (top, left))
        crop = nodes.cut(whole, name, (a, a + height), (b, b + width))
        if left < MARGIN:
            right = nodes.cut(columns[left], f"{name}_right", (a, a + height), (0, 0))
            crop = nodes.add("Concat", crop, right, name=f"{name}_wide", axis=3)
        if top < MARGIN:
            low = nodes.cut(rows[top], f"{name}_low", (0, 0), (b, b + width))
            if left < MARGIN:
                corner = nodes.cut(centered, f"{name}_corner", ends[top], ends[left])
                corner = layers.convolution(nodes, corner, "conv1", [0, 0, 3, 3], f"{name}_corner")
                low = nodes.add("Concat", low, corner, name=f"{name}_lowest", axis=3)
            crop = nodes.add("Concat", crop, low, name=f"{name}_high", axis=2)
        crops.append(crop)
    return whole, crops


def _five_of_pool2(nodes: Nodes, layers: Layers, whole: str, crops: list[str]) -> str:
    """pool2 of the five crops: (2N, 96, 27, 27) five times -> (2N, 5, 256, 13, 13)."""
    pooled = layers.convolution(nodes, whole, "conv2", [2] * 4, "whole")  # (2N, 256, 15, 15)
    starts, ends = (  # crops that begin, or end, inside the image: by rows, and by columns
        [[number for number, offset in enumerate(OFFSETS) if offset[axis] != own] for axis in (0, 1)]
        for own in (0, MARGIN)
    )
    top = _bands(nodes, layers, crops, starts[0], "top", (0, 5), (0, 0), [2, 2, 0, 2])  # 1 x 13
    left = _bands(nodes, layers, crops, starts[1], "left", (0, 0), (0, 5), [2, 2, 2, 0])  # 13 x 1
    low = _bands(nodes, layers, crops, ends[0], "low", (20, 27), (0, 0), [0, 2, 2, 2])  # 2 x 13
    right = _bands(nodes, layers, crops, ends[1], "right", (0, 0), (20, 27), [2, 0, 2, 2])  # 13 x 2
    found = []
    for number, offset in enumerate(OFFSETS):
        name = f"five{number}"
        rows, columns = ((int(o > 0), 11 if o < MARGIN else 13) for o in offset)  # those that the whole has right
        (a, b) = (o // 16 for o in offset)
        crop = nodes.cut(pooled, name, (a + rows[0], a + rows[1]), (b + columns[0], b + columns[1]))
        beside = [nodes.cut(side[number], f"{name}_{where}", rows, (0, 0)) if number in side else ""
                  for where, side in (("left", left), ("right", right))]  # fmt: skip
        crop = _joined(nodes, [beside[0], crop, beside[1]], f"{name}_wide", 3)
        crop = _joined(nodes, [top.get(number, ""), crop, low.get(number, "")], f"{name}_high", 2)
        found.append(nodes.add("Unsqueeze", crop, nodes.numbers(1), name=f"{name}_crop"))
    return nodes.add("Concat", *found, name="five", axis=1)


def _joined(nodes: Nodes, parts: list[str], name: str, axis: int) -> str:
    present = [part for part in parts if part]
    return nodes.add("Concat", *present, name=name, axis=axis) if len(present) > 1 else present[0]


def _bands(
    nodes: Nodes, layers: Layers, crops: list[str], numbers: list[int], name: str,
    rows: tuple[int, int], columns: tuple[int, int], padding: list[int],
) -> dict[int, str]:  # fmt: skip
    """The same band of several crops, at once."""
    cuts = [nodes.cut(crops[number], f"{name}{number}", rows, columns) for number in numbers]
    together = nodes.add("Concat", *cuts, name=f"{name}_bands", axis=0)
    done = layers.convolution(nodes, together, "conv2", padding, name)
    return dict(zip(numbers, nodes.split(done, len(numbers), f"{name}_parts"), strict=True))
