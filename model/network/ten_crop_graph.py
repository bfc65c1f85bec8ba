"""Ten crops with everything up to the second pooling computed once: an optimization of the served graph.

The crops' offsets (0, 16, 32) are multiples of the strides up to there (4, 8 and 16 pixels), so the maps of a crop are
cut from those of the whole image, except for a border: where a window reaches beyond the crop's edge, the whole image
has pixels and the crop has zeros. Those positions lie in bands of a few rows or columns, which are computed separately.
Crops 5 to 9 are crops of the mirrored image at the same offsets.

    the image and its mirror image                 (2N, 3, 256, 256)
    conv1, norm, pool1: the whole image            (2N, 96, 31, 31), of which a crop has 27 x 27
        its last row and column, in bands          where the crop ends before the image: offsets 0 and 16
    five crops                                     (10N, 96, 27, 27)
    conv2, norm, pool2: the whole image            (2N, 256, 15, 15), of which a crop has 13 x 13
        its first row and column                   offsets 16 and 32
        its last two rows and columns              offsets 0 and 16
    five crops                                     (10N, 256, 13, 13), image by image

The border is exact, not approximated: the result differs from separate crops only by the order of float32 sums.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.images.crops import CROP_SIZE, MARGIN, OFFSETS
from model.network.onnx_builder import GraphBuilder
from model.network.onnx_layers import LayerWriter
from model.network.spec import LRN, Activation, Conv, Layer, MaxPool, NetworkSpec, Padding

CONV1_PADDING: Padding = (0, 0, 3, 3)
CONV2_PADDING: Padding = (2, 2, 2, 2)
BAND_PIXELS = 19 - 3
"""Pixels of a crop, besides 3 zeros, that the last position of pool1 sees: 3 windows of 11 at stride 4."""


def can_share_crops(spec: NetworkSpec) -> bool:
    """Whether crops can be cut from the same maps: the first two blocks have the geometry above, their normalization is
    per position, and the same mean is subtracted in every crop."""
    first, second = spec.blocks[:2]
    return (
        (spec.config.input_size, spec.config.mean) == (CROP_SIZE, "own")
        and _has_geometry(first, 11, 4, CONV1_PADDING)
        and _has_geometry(second, 5, 1, CONV2_PADDING)
    )


def _has_geometry(block: Sequence[Layer], kernel_size: int, stride: int, padding: Padding) -> bool:
    conv, *middle, last = block
    return (
        isinstance(conv, Conv)
        and (conv.kernel_size, conv.stride, conv.padding) == (kernel_size, stride, padding)
        and all(isinstance(layer, Activation | LRN) for layer in middle)
        and isinstance(last, MaxPool)
    )


def write_shared_blocks(graph: GraphBuilder, writer: LayerWriter, spec: NetworkSpec, image_pairs: str) -> str:
    """Write the first two blocks for all ten crops.

    (2N, 3, 256, 256): each image, mean subtracted, and its mirror image -> (10N, 256, 13, 13), image by image.
    """
    first, second = spec.blocks[:2]
    whole, crops = _pool1_of_crops(graph, writer, first, image_pairs)
    five = _pool2_of_crops(graph, writer, second, whole, crops)  # (2N, 5, 256, 13, 13)
    conv2 = second[0]
    assert isinstance(conv2, Conv)
    return graph.add("Reshape", five, graph.int64s(-1, conv2.out_channels, 13, 13), name="crop_maps")


def _pool1_of_crops(
    graph: GraphBuilder, writer: LayerWriter, block: Sequence[Layer], image_pairs: str
) -> tuple[str, list[str]]:
    """pool1 of the whole image (2N, 96, 31, 31), and of the five crops (2N, 96, 27, 27) each."""
    whole = writer.write(graph, image_pairs, block, "whole")
    bands = {offset: (offset + CROP_SIZE - BAND_PIXELS, offset + CROP_SIZE) for offset in (0, MARGIN // 2)}
    last_rows, last_columns = {}, {}
    for offset, band in bands.items():
        row = graph.slice(image_pairs, f"row{offset}", band, (0, 0))
        last_rows[offset] = writer.write(graph, row, block, f"row{offset}")  # (2N, 96, 1, 31)
        column = graph.slice(image_pairs, f"column{offset}", (0, 0), band)
        last_columns[offset] = writer.write(graph, column, block, f"column{offset}")  # (2N, 96, 31, 1)
    crops = []
    for number, (top, left) in enumerate(OFFSETS):
        name, row_start, column_start = f"crop{number}", top // 8, left // 8
        rows, columns = (
            (start, start + (26 if offset < MARGIN else 27))
            for start, offset in ((row_start, top), (column_start, left))
        )
        crop = graph.slice(whole, name, rows, columns)
        if left < MARGIN:
            right = graph.slice(last_columns[left], f"{name}_right", rows, (0, 0))
            crop = graph.add("Concat", crop, right, name=f"{name}_wide", axis=3)
        if top < MARGIN:
            bottom = graph.slice(last_rows[top], f"{name}_bottom", (0, 0), columns)
            if left < MARGIN:
                corner = graph.slice(image_pairs, f"{name}_corner", bands[top], bands[left])
                corner = writer.write(graph, corner, block, f"{name}_corner")
                bottom = graph.add("Concat", bottom, corner, name=f"{name}_bottom_wide", axis=3)
            crop = graph.add("Concat", crop, bottom, name=f"{name}_high", axis=2)
        crops.append(crop)
    return whole, crops


def _pool2_of_crops(
    graph: GraphBuilder, writer: LayerWriter, block: Sequence[Layer], whole: str, crops: list[str]
) -> str:
    """pool2 of the five crops: (2N, 96, 27, 27) five times -> (2N, 5, 256, 13, 13)."""
    pooled = writer.write(graph, whole, block, "whole")  # (2N, 256, 15, 15)
    starts, ends = (  # crops that begin, or end, inside the image: by rows, and by columns
        [[number for number, offset in enumerate(OFFSETS) if offset[axis] != edge] for axis in (0, 1)]
        for edge in (0, MARGIN)
    )
    bands = _Bands(graph, writer, block, crops)
    top = bands.write(starts[0], "top", (0, 5), (0, 0), (2, 2, 0, 2))  # 1 x 13
    left = bands.write(starts[1], "left", (0, 0), (0, 5), (2, 2, 2, 0))  # 13 x 1
    bottom = bands.write(ends[0], "bottom", (20, 27), (0, 0), (0, 2, 2, 2))  # 2 x 13
    right = bands.write(ends[1], "right", (0, 0), (20, 27), (2, 0, 2, 2))  # 13 x 2
    five = []
    for number, offset in enumerate(OFFSETS):
        name = f"five{number}"
        # rows and columns that are the same in the whole image
        rows, columns = ((int(o > 0), 11 if o < MARGIN else 13) for o in offset)
        row_start, column_start = (o // 16 for o in offset)
        crop = graph.slice(
            pooled,
            name,
            (row_start + rows[0], row_start + rows[1]),
            (column_start + columns[0], column_start + columns[1]),
        )
        sides = [
            graph.slice(side[number], f"{name}_{where}", rows, (0, 0)) if number in side else ""
            for where, side in (("left", left), ("right", right))
        ]
        crop = _concat(graph, [sides[0], crop, sides[1]], f"{name}_wide", 3)
        crop = _concat(graph, [top.get(number, ""), crop, bottom.get(number, "")], f"{name}_high", 2)
        five.append(graph.add("Unsqueeze", crop, graph.int64s(1), name=f"{name}_crop"))
    return graph.add("Concat", *five, name="five", axis=1)


def _concat(graph: GraphBuilder, parts: list[str], name: str, axis: int) -> str:
    """Concatenate the parts that exist."""
    existing = [part for part in parts if part]
    return graph.add("Concat", *existing, name=name, axis=axis) if len(existing) > 1 else existing[0]


class _Bands:
    """Bands of conv2's block along the edges of crops."""

    def __init__(self, graph: GraphBuilder, writer: LayerWriter, block: Sequence[Layer], crops: list[str]) -> None:
        self._graph, self._writer, self._block, self._crops = graph, writer, block, crops

    def write(
        self, numbers: list[int], name: str, rows: tuple[int, int], columns: tuple[int, int], padding: Padding
    ) -> dict[int, str]:
        """The same band of the crops `numbers`, computed together, by crop."""
        graph = self._graph
        slices = [graph.slice(self._crops[number], f"{name}{number}", rows, columns) for number in numbers]
        batch = graph.add("Concat", *slices, name=f"{name}_bands", axis=0)
        result = self._writer.write(graph, batch, self._block, name, padding)
        return dict(zip(numbers, graph.split(result, len(numbers), f"{name}_parts"), strict=True))
